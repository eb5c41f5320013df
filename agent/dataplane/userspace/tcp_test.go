// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestTCP(t *testing.T) {
	for family, c := range map[string]struct{ vip, one, two string }{
		"IPv4": {"10.96.0.1:80", "10.244.1.2:8080", "10.244.1.3:8080"},
		"IPv6": {"[fd00:96::1]:80", "[fd00:244::2]:8080", "[fd00:244::3]:8080"},
	} {
		t.Run(family, func(t *testing.T) {
			n := newTopology(t)
			n.serve(c.one, c.two)
			f := leading(c.vip, model.TCP, c.one, c.two)
			if stats := n.sync(desired(f)); stats.Operations != 3 || stats.Unsupported != nil { // frontend, socket, route
				t.Errorf("%+v", stats)
			}
			want := map[string]int{c.one: 2, c.two: 2}
			for name, space := range n.spaces() {
				if diff := cmp.Diff(want, n.meets(space, c.vip, 4)); diff != "" {
					t.Errorf("from %s (-want +got):\n%s", name, diff)
				}
			}
			other := netip.AddrPortFrom(f.Key.Address, 81).String()
			for name, space := range n.spaces() {
				if _, _, err := n.ask(space, other); !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("another port, from %s: %v", name, err)
				}
			}
			n.apply(model.Change{Key: f.Key, Old: f})
			if _, _, err := n.ask(n.node, c.vip); err == nil {
				t.Error("answers although the frontend is removed")
			}
		})
	}
}

// A listening socket of multipath TCP, Go's default, supports no filter.
func TestPlainTCP(t *testing.T) {
	n := newTopology(t)
	f := leading("10.96.0.1:80", model.TCP, "10.244.1.2:8080")
	n.sync(desired(f))
	raw, err := n.d.frontends[f.Key].sockets[f.Key].SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var protocol int
	if controlErr := raw.Control(func(fd uintptr) { protocol, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL) }); controlErr != nil {
		t.Fatal(controlErr)
	}
	if protocol != unix.IPPROTO_TCP || err != nil {
		t.Errorf("protocol %d, %v", protocol, err)
	}
}

// An endpoint that does not answer is skipped.
func TestDeadEndpoint(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	n.sync(desired(leading("10.96.0.1:80", model.TCP, "10.244.1.2:8080", "10.244.1.3:8080", "10.244.1.4:8080")))
	if diff := cmp.Diff(map[string]int{"10.244.1.2:8080": 6}, n.meets(n.outside, "10.96.0.1:80", 6)); diff != "" {
		t.Errorf("met (-want +got):\n%s", diff)
	}
}

// A Service whose endpoint is its own address must not loop.
func TestCircle(t *testing.T) {
	n := newTopology(t)
	n.sync(desired(leading("10.96.0.1:80", model.TCP, "10.96.0.2:80"), leading("10.96.0.2:80", model.TCP, "10.96.0.1:80")))
	if _, _, err := n.ask(n.outside, "10.96.0.1:80"); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("error %v", err)
	}
	if n.d.proxy.open.refused > 0 {
		t.Error("it looped until no descriptor was left")
	}
}

// listenAsPod returns a listener on an address of a Pod, and adds a frontend for it.
func (n *topology) listenAsPod() (l *net.TCPListener) {
	n.t.Helper()
	netnstest.Do(n.t, n.pods, func() error {
		listener, err := net.Listen("tcp", "10.244.1.9:80")
		if err == nil {
			l = listener.(*net.TCPListener)
			n.t.Cleanup(func() { l.Close() })
		}
		return err
	})
	n.sync(desired(leading("10.96.0.1:80", model.TCP, "10.244.1.9:80")))
	return l
}

// pair returns both ends of a connection through the proxy.
func (n *topology) pair() (client, server *net.TCPConn) {
	n.t.Helper()
	l := n.listenAsPod()
	conn, err := n.dial(n.outside, "tcp", "10.96.0.1:80")
	if err != nil {
		n.t.Fatal(err)
	}
	accepted, err := l.AcceptTCP()
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { accepted.Close() })
	if err := accepted.SetDeadline(time.Now().Add(patience)); err != nil {
		n.t.Fatal(err)
	}
	return conn.(*net.TCPConn), accepted
}

// A side that has closed may still get data.
func TestHalfClose(t *testing.T) {
	for name, swap := range map[string]bool{"the client ends first": false, "the endpoint ends first": true} {
		t.Run(name, func(t *testing.T) {
			n := newTopology(t)
			first, second := n.pair()
			if swap {
				first, second = second, first
			}
			request := bytes.Repeat([]byte("question"), 1000)
			if _, err := first.Write(request); err != nil {
				t.Fatal(err)
			}
			if err := first.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(second); err != nil || !bytes.Equal(got, request) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if _, err := second.Write([]byte("answer")); err != nil {
				t.Fatal(err)
			}
			if err := second.Close(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(first); err != nil || string(got) != "answer" {
				t.Fatalf("%q, %v", got, err)
			}
			eventually(t, "the proxy has no connection", func() bool { return len(n.d.proxy.open.open()) == 0 })
		})
	}
}

// A client meets an endpoint that resets it at once, and only once, when the kernel does not translate.
func TestResetAtOnce(t *testing.T) {
	n := newTopology(t)
	l := n.listenAsPod()
	asked := n.d.proxy.tracking
	asked.mu.Lock()
	asked.until = time.Time{} // the kernel is not asked
	asked.mu.Unlock()
	for range 50 {
		conn, err := n.dial(n.outside, "tcp", "10.96.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		reset(accepted)
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Fatalf("error %v", err)
		}
	}
}

// A reset of one side resets the other, too.
func TestReset(t *testing.T) {
	for name, swap := range map[string]bool{"the client": false, "the endpoint": true} {
		t.Run(name, func(t *testing.T) {
			n := newTopology(t)
			first, second := n.pair()
			n.onward() // an endpoint's reset is not taken for one of the handshake, see connect
			if swap {
				first, second = second, first
			}
			reset(first)
			if _, err := second.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("error %v", err)
			}
			eventually(t, "the proxy has no connection", func() bool { return len(n.d.proxy.open.open()) == 0 })
		})
	}
}

// A writer whose reader does not read has to wait, and no data is lost.
func TestBackPressure(t *testing.T) {
	n := newTopology(t)
	client, server := n.pair()
	sent := sha256.New()
	size, chunk := 0, bytes.Repeat([]byte("0123456789abcdef"), 4096)
	for {
		if err := client.SetWriteDeadline(time.Now().Add(impatience)); err != nil {
			t.Fatal(err)
		}
		written, err := client.Write(chunk)
		sent.Write(chunk[:written])
		if size += written; err != nil {
			break
		}
		if size > 256<<20 {
			t.Fatalf("%d bytes are buffered", size)
		}
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got := sha256.New()
	read, err := io.Copy(got, server)
	if err != nil || int(read) != size || !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
		t.Errorf("%d bytes arrived of %d, %v", read, size, err)
	}
	t.Logf("%d bytes were in transit", size)
}

// Connections stay open when their endpoint is removed, and when the frontend is removed.
// Then the address stays as long as they do, and refuses new ones.
func TestConnectionsStay(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080", "10.244.1.3:8080")
	f := leading("10.96.0.1:80", model.TCP, "10.244.1.2:8080")
	n.sync(desired(f))
	conn, err := n.dial(n.outside, "tcp", "10.96.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	replaced := leading("10.96.0.1:80", model.TCP, "10.244.1.3:8080")
	if stats := n.apply(model.Change{Key: f.Key, Old: f, New: replaced}); stats.Operations != 1 {
		t.Errorf("%+v", stats)
	}
	echo(t, conn, "one", "one")
	n.apply(model.Change{Key: f.Key, Old: replaced})
	echo(t, conn, "two", "two")
	if _, _, err := n.ask(n.outside, "10.96.0.1:80"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
	changed := n.watch()
	if stats := n.sync(desired()); stats.Operations+stats.Repaired != 0 {
		t.Errorf("while the connection is open: %+v", stats)
	}
	echo(t, conn, "three", "three")
	conn.Close()
	<-changed
	if stats := n.sync(desired()); stats.Operations != 1 || stats.Repaired != 0 {
		t.Errorf("after its end: %+v", stats)
	}
	n.wantRoutes()
}
