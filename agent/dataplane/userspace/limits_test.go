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
	n.dialEach(count, func(int) (string, net.Addr) { return childVIP, nil }, each)
}

// dialEach is dialMany with the address of a Service and of a client for each connection.
func (n *topology) dialEach(count int, at func(i int) (to string, from net.Addr), each func(i int, conn net.Conn) error) {
	n.t.Helper()
	netnstest.Do(n.t, n.outside, func() error {
		for i := range count {
			to, from := at(i)
			conn, err := (&net.Dialer{Timeout: patience, LocalAddr: from}).Dial("tcp", to)
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

// crowdOf gives the namespace outside some addresses more. The i-th connection of the
// crowd is from the i-th of them, to the i-th other Service of a child.
func (n *topology) crowdOf(count int) func(i int) (string, net.Addr) {
	var lines []string
	for i := range count {
		lines = append(lines, fmt.Sprintf("addr add 203.0.113.%d/24 dev eth0", 100+i))
	}
	n.ip(n.outside, strings.Join(lines, "\n"))
	return func(i int) (string, net.Addr) {
		return otherVIP(i % count), &net.TCPAddr{IP: net.IPv4(203, 0, 113, byte(100+i%count))}
	}
}

// open opens connections. It returns those that are served, and how many were refused.
func (n *topology) open(count int, at func(i int) (string, net.Addr)) (open []net.Conn, refused int) {
	n.t.Helper()
	n.dialEach(count, at, func(_ int, conn net.Conn) error {
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
	return open, refused
}

// Without free descriptors new connections are refused and the status says what to do.
// Open connections go on, and new ones are accepted when some have been closed.
func TestFilesRunOut(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	const others = 105
	// Of 400 an eighth is reserved, and 106 are sockets: 244.
	proxy := n.child(400, fmt.Sprintf("%s=%d", othersEnv, others))
	proxy.say("10.244.1.2:8080")
	crowd := n.crowdOf(others)
	var open []net.Conn
	defer func() { closeAll(open) }()
	// The first hundred are strangers to each other, and then come the same again.
	open, refused := n.open(150, func(i int) (string, net.Addr) { return crowd(i % 100) })
	if len(open) != 119 || refused != 31 {
		t.Errorf("%d connections are open, %d were refused", len(open), refused)
	}
	// A client that has none still gets one of the last six descriptors, and then none does.
	last, refused := n.open(5, func(i int) (string, net.Addr) { return crowd(100 + i) })
	open = append(open, last...)
	if len(last) != 3 || refused != 2 {
		t.Errorf("of the last five %d are open, %d were refused", len(last), refused)
	}
	if r := proxy.say(""); !strings.Contains(r.Unsupported, errFull.Error()) || !strings.Contains(r.Unsupported, errShare.Error()) {
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

// A client that opens as many connections as it can leaves room for other clients and
// other Services.
func TestGreedyClient(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	// Of 160 an eighth is reserved, and 11 are sockets: 129.
	proxy := n.child(160, othersEnv+"=10")
	proxy.say("10.244.1.2:8080")
	crowd := n.crowdOf(10)
	open, refused := n.open(100, func(int) (string, net.Addr) { return otherVIP(0), nil })
	defer func() { closeAll(open) }()
	if len(open) != 21 || refused != 79 { // 42 descriptors, and 87 are free
		t.Errorf("%d connections are open, %d were refused", len(open), refused)
	}
	if more, refused := n.open(5, func(int) (string, net.Addr) { return otherVIP(1), nil }); len(more) > 0 || refused != 5 {
		t.Errorf("at another Service: %d connections are open, %d were refused", len(more), refused)
	}
	for _, at := range []func(i int) (string, net.Addr){
		func(i int) (string, net.Addr) { _, from := crowd(1 + i); return otherVIP(0), from }, // there
		func(i int) (string, net.Addr) { return crowd(1 + i%9) },                             // elsewhere
	} {
		more, refused := n.open(9, at)
		open = append(open, more...)
		if len(more) != 9 || refused != 0 {
			t.Errorf("others: %d connections are open, %d were refused", len(more), refused)
		}
	}
	if r := proxy.say(""); !strings.Contains(r.Unsupported, errShare.Error()) || strings.Contains(r.Unsupported, errFull.Error()) {
		t.Errorf("unsupported: %s", r.Unsupported)
	}
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
// limit of open files allows. The proxy needs two descriptors for each, and four free
// ones, because one client has them all. The test needs two for each, for the client and
// the server.
func howMany(t *testing.T) (connections, files int) {
	t.Helper()
	const want = 10_000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	files = 6*want + maxReserve + 200
	if limit.Max < uint64(files) {
		raised := unix.Rlimit{Cur: uint64(files), Max: uint64(files)}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err != nil {
			files = int(limit.Max)
			t.Logf("%d open files are allowed (%v): fewer connections than %d", files, err, want)
		}
	}
	return min(want, (files-maxReserve-200)/6), files
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

// close closes the connections, and waits until the proxy is as before, with a socket for
// questions about connection tracking.
func (m *many) close(before reply, heap uint64) (after reply) {
	m.t.Helper()
	closeAll(m.conns)
	m.conns = nil
	eventually(m.t, "nothing is left", func() bool {
		after = m.replace(0)
		return after.Goroutines <= before.Goroutines && after.Files <= before.Files+1 && after.Heap <= heap
	})
	return after
}
