// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// hello opens a connection and reads the first line of the endpoint, byte by byte so that
// nothing is buffered.
func hello(conn net.Conn) error {
	for b := make([]byte, 1); b[0] != '\n'; {
		if _, err := conn.Read(b); err != nil {
			return err
		}
	}
	return nil
}

// alive returns an error unless an open connection still has its endpoint.
func alive(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("!")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

// dialMany opens connections from outside, without a clean-up for each. A connection may
// be reset while it is opened.
func (n *topology) dialMany(count int, each func(i int, conn net.Conn) error) {
	n.t.Helper()
	netnstest.Do(n.t, n.outside, func() error {
		for i := range count {
			conn, err := (&net.Dialer{Timeout: patience}).Dial("tcp", childVIP)
			if errors.Is(err, unix.ECONNRESET) {
				conn, err = resetConn{}, nil
			}
			if err == nil {
				err = conn.SetDeadline(time.Now().Add(patience))
			}
			if err == nil {
				err = each(i, conn)
			}
			if err != nil {
				return fmt.Errorf("connection %d: %w", i, err)
			}
		}
		return nil
	})
}

// Without free descriptors new connections are refused and the status says what to do.
// Open connections go on, and new ones are accepted when some have been closed.
func TestFilesRunOut(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	proxy := n.child(160)
	proxy.say("10.244.1.2:8080")
	var open []net.Conn
	defer func() { closeAll(open) }()
	refused := 0
	n.dialMany(100, func(_ int, conn net.Conn) error {
		switch err := hello(conn); {
		case err == nil:
			open = append(open, conn)
		case errors.Is(err, unix.ECONNRESET):
			refused++
			conn.Close()
		default:
			return err
		}
		return nil
	})
	if len(open) != 69 || refused != 31 { // of 160 an eighth is reserved, and one is the socket
		t.Errorf("%d connections are open, %d were refused", len(open), refused)
	}
	if r := proxy.say(""); !strings.Contains(r.Unsupported, "RLIMIT_NOFILE") {
		t.Errorf("unsupported: %s", r.Unsupported)
	}
	for i, conn := range open {
		if err := alive(conn); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	closeAll(open)
	open = nil
	eventually(t, "there is room again", func() (served bool) {
		n.dialMany(1, func(_ int, conn net.Conn) error {
			served = hello(conn) == nil
			return conn.Close()
		})
		return served
	})
}

// resetConn is a connection that was reset at once.
type resetConn struct{ net.Conn }

func (resetConn) Read([]byte) (int, error)    { return 0, unix.ECONNRESET }
func (resetConn) SetDeadline(time.Time) error { return nil }
func (resetConn) Close() error                { return nil }

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

// While the kernel itself has no free descriptor, whichever process uses them, clients
// wait.
func TestKernelHasNoFiles(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	proxy := n.child(160)
	proxy.say("10.244.1.2:8080")
	proxy.say("hoard")
	n.dialMany(1, func(_ int, conn net.Conn) error {
		defer conn.Close()
		eventually(t, "the status says so", func() bool { return strings.Contains(proxy.say("").Unsupported, "RLIMIT_NOFILE") })
		proxy.say("release")
		return hello(conn)
	})
}

// howMany returns how many connections can be open at once: 10,000, or as many as the
// limit of open files allows. The proxy needs two descriptors for each, and so does the
// test, for the client and the server.
func howMany(t *testing.T) (connections, files int) {
	t.Helper()
	const want = 10_000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	files = 2*want + maxReserve + 200
	if limit.Max < uint64(files) {
		raised := unix.Rlimit{Cur: uint64(files), Max: uint64(files)}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err != nil {
			files = int(limit.Max)
			t.Logf("%d open files are allowed (%v): fewer connections than %d", files, err, want)
		}
	}
	return min(want, (files-maxReserve-200)/2), files
}

// With 10,000 open connections, endpoints that are replaced all the time, and little
// memory, all connections go on. When they are closed nothing of them is left. Go keeps
// the memory of goroutines, so memory is compared after the second round.
func TestManyConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("opens 10,000 connections")
	}
	count, files := howMany(t)
	n := newTopology(t)
	m := &many{topology: n}
	for i := range 8 {
		m.addresses = append(m.addresses, fmt.Sprintf("10.244.1.%d:8080", i+2))
	}
	n.serve(m.addresses...)
	m.proxy = n.child(files, "GOMEMLIMIT=96MiB")
	before := m.replace(0)
	during := m.open(count)
	t.Logf("before: %+v\nwith %d connections: %+v", before, count, during)
	if during.Memory > 256<<20 {
		t.Errorf("%d MiB are taken for %d connections", during.Memory>>20, count)
	}
	if got, want := during.Files-before.Files, 2*count; got < want || got > want+100 {
		t.Errorf("%d descriptors for %d connections", got, count)
	}
	first := m.close(before, math.MaxUint64)
	m.open(2000)
	second := m.close(before, first.Heap+512<<10)
	t.Logf("after: %+v\nand again: %+v", first, second)
}

// many is a proxy whose endpoints change, and the connections through it.
type many struct {
	*topology
	proxy     *child
	addresses []string
	conns     []net.Conn
}

func (m *many) replace(i int) reply {
	i %= len(m.addresses) - 2
	return m.proxy.say(strings.Join(m.addresses[i:i+2], " "))
}

// open opens connections and uses all of them, while endpoints are replaced.
func (m *many) open(count int) (during reply) {
	m.t.Helper()
	m.t.Cleanup(func() { closeAll(m.conns) })
	m.dialMany(count, func(i int, conn net.Conn) error {
		m.conns = append(m.conns, conn)
		if i%500 == 0 {
			m.replace(i / 500)
		}
		return hello(conn)
	})
	during = m.replace(1)
	for i, conn := range m.conns {
		if i%1000 == 0 {
			m.replace(i / 1000)
		}
		if err := alive(conn); err != nil {
			m.t.Fatalf("connection %d: %v", i, err)
		}
	}
	return during
}

// close closes the connections, and waits until the proxy is as before.
func (m *many) close(before reply, heap uint64) (after reply) {
	m.t.Helper()
	closeAll(m.conns)
	m.conns = nil
	eventually(m.t, "nothing is left", func() bool {
		after = m.replace(0)
		return after.Goroutines <= before.Goroutines && after.Files <= before.Files && after.Heap <= heap
	})
	return after
}
