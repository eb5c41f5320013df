// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// udp opens a socket of a client.
func (n *topology) udp(to string) net.Conn {
	n.t.Helper()
	conn, err := n.dial(n.outside, "udp", to)
	if err != nil {
		n.t.Fatal(err)
	}
	return conn
}

// question sends a datagram and returns the endpoint that answers. The socket is
// connected, so it accepts replies only from the address that it sent to.
func question(conn net.Conn, text string) (endpoint string, err error) {
	if _, err := conn.Write([]byte(text)); err != nil {
		return "", err
	}
	b := make([]byte, maxDatagram)
	size, err := conn.Read(b)
	if err != nil {
		return "", err
	}
	endpoint, got, _ := strings.Cut(string(b[:size]), " ")
	if got != text {
		return "", fmt.Errorf("sent %d bytes, got %d", len(text), len(got))
	}
	return endpoint, nil
}

// sessions returns how many sessions a frontend has.
func (n *topology) sessions(k model.FrontendKey) int {
	l := n.d.frontends[k].sockets[k].(*udpListener)
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sessions)
}

func (n *topology) counted() int {
	n.d.proxy.open.mu.Lock()
	defer n.d.proxy.open.mu.Unlock()
	return n.d.proxy.open.sessions
}

func TestUDP(t *testing.T) {
	for family, c := range map[string]struct{ vip, one, two string }{
		"IPv4": {"10.96.0.10:53", "10.244.1.2:5353", "10.244.1.3:5353"},
		"IPv6": {"[fd00:96::10]:53", "[fd00:244::2]:5353", "[fd00:244::3]:5353"},
	} {
		t.Run(family, func(t *testing.T) {
			n := newTopology(t)
			n.serve(c.one, c.two)
			f := leading(c.vip, model.UDP, c.one, c.two)
			n.sync(desired(f))
			met := map[string]int{}
			for range 4 {
				conn := n.udp(c.vip)
				first, err := question(conn, "?")
				if err != nil {
					t.Fatal(err)
				}
				met[first]++
				for _, text := range []string{"", "again", string(bytes.Repeat([]byte("x"), 60000))} {
					if again, err := question(conn, text); err != nil || again != first {
						t.Errorf("%d bytes: %s, %v, want %s", len(text), again, err, first)
					}
				}
			}
			if met[c.one] != 2 || met[c.two] != 2 {
				t.Errorf("met %v", met)
			}
			if n.sessions(f.Key) != 4 || n.counted() != 4 {
				t.Errorf("%d sessions, %d counted", n.sessions(f.Key), n.counted())
			}
			n.apply(model.Change{Key: f.Key, Old: f})
			eventually(t, "no session is left", func() bool { return n.counted() == 0 })
		})
	}
}

// A session keeps its endpoint as long as that serves, and ends with it.
func TestServing(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:5353", "10.244.1.3:5353")
	f := leading("10.96.0.10:53", model.UDP, "10.244.1.2:5353")
	n.sync(desired(f))
	conn := n.udp("10.96.0.10:53")
	want := func(endpoint, when string) {
		t.Helper()
		if got, err := question(conn, "?"); got != endpoint || err != nil {
			t.Errorf("%s: met %s, %v, want %s", when, got, err, endpoint)
		}
	}
	want("10.244.1.2:5353", "first")
	terminating := leading("10.96.0.10:53", model.UDP, "10.244.1.3:5353")
	terminating.Serving = endpoints("10.244.1.2:5353", "10.244.1.3:5353")
	n.apply(model.Change{Key: f.Key, Old: f, New: terminating})
	want("10.244.1.2:5353", "while it terminates and serves")
	gone := leading("10.96.0.10:53", model.UDP, "10.244.1.3:5353")
	n.apply(model.Change{Key: f.Key, Old: terminating, New: gone})
	want("10.244.1.3:5353", "when it serves no longer")
	n.apply(model.Change{Key: f.Key, Old: gone, New: leading("10.96.0.10:53", model.UDP)})
	if _, err := question(conn, "?"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("no endpoint: %v", err)
	}
}

// Sessions end after a time of silence, later if they are streams.
func TestSilence(t *testing.T) {
	n := newTopology(t)
	n.d.proxy.udp = udpTimeouts{single: 3 * time.Second, stream: time.Hour, streamAge: 100 * time.Millisecond}
	n.serve("10.244.1.2:5353")
	f := leading("10.96.0.10:53", model.UDP, "10.244.1.2:5353")
	n.sync(desired(f))
	stream, single := n.udp("10.96.0.10:53"), n.udp("10.96.0.10:53")
	eventually(t, "a flow in both directions is a stream", func() bool {
		if _, err := question(stream, "?"); err != nil {
			t.Fatal(err)
		}
		l := n.d.frontends[f.Key].sockets[f.Key].(*udpListener)
		l.mu.Lock()
		defer l.mu.Unlock()
		s := l.sessions[netip.MustParseAddrPort(stream.LocalAddr().String())]
		return s != nil && s.stream
	})
	if _, err := question(single, "?"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one of two sessions is left", func() bool { return n.sessions(f.Key) == 1 })
	if _, err := question(stream, "?"); err != nil {
		t.Fatal(err)
	}
	if n.sessions(f.Key) != 1 || n.counted() != 1 {
		t.Errorf("%d sessions, %d counted", n.sessions(f.Key), n.counted())
	}
}

// When there is no room for a new session, the one that has been silent for longest is
// ended.
func TestSessionsAreBounded(t *testing.T) {
	n := newTopology(t)
	n.d.proxy.open.files = func() uint64 { return 80 } // 20 for one frontend
	n.serve("10.244.1.2:5353")
	f := leading("10.96.0.10:53", model.UDP, "10.244.1.2:5353")
	n.sync(desired(f))
	first := n.udp("10.96.0.10:53")
	for range 50 {
		for _, conn := range []net.Conn{n.udp("10.96.0.10:53"), first} {
			if _, err := question(conn, "?"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n.sessions(f.Key) != 20 || n.counted() != 20 {
		t.Errorf("%d sessions, %d counted", n.sessions(f.Key), n.counted())
	}
	l := n.d.frontends[f.Key].sockets[f.Key].(*udpListener)
	l.mu.Lock()
	defer l.mu.Unlock()
	local := netip.MustParseAddrPort(first.LocalAddr().String())
	if s := l.sessions[local]; s == nil || time.Since(s.began) < time.Since(l.recent.Back().Value.(*session).began) {
		t.Error("the session in use was ended")
	}
}

// A client with very many sessions ends its own, and not those of other clients that are
// silent for longer.
func TestGreedySessions(t *testing.T) {
	for name, files := range map[string]uint64{"the frontend is full": 80, "the client's share is taken": 40} {
		t.Run(name, func(t *testing.T) {
			n := newTopology(t)
			n.d.proxy.open.files = func() uint64 { return files }
			n.serve("10.244.1.2:5353")
			f := leading("10.96.0.10:53", model.UDP, "10.244.1.2:5353")
			n.sync(desired(f))
			ask := func(from string) *net.UDPAddr {
				t.Helper()
				var local *net.UDPAddr
				netnstest.Do(t, n.outside, func() error {
					conn, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}).Dial("udp", "10.96.0.10:53")
					if err != nil {
						return err
					}
					defer conn.Close()
					local = conn.LocalAddr().(*net.UDPAddr)
					if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
						return err
					}
					_, err = question(conn, "?")
					return err
				})
				return local
			}
			silent := ask("203.0.113.3")
			for range 50 {
				ask("203.0.113.2")
			}
			l := n.d.frontends[f.Key].sockets[f.Key].(*udpListener)
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.sessions[silent.AddrPort()] == nil {
				t.Error("the session of another client was ended")
			}
			if len(l.sessions) < 8 || l.recent.Len() != len(l.sessions) || len(l.recentOf) != 2 {
				t.Errorf("%d sessions, %d of them by time, of %d clients", len(l.sessions), l.recent.Len(), len(l.recentOf))
			}
		})
	}
}

// A session ends when its endpoint refuses.
func TestRefusal(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:5353")
	f := leading("10.96.0.10:53", model.UDP, "10.244.1.2:5353", "10.244.1.3:5353")
	n.sync(desired(f))
	conn := n.udp("10.96.0.10:53")
	eventually(t, "the client reaches the endpoint that answers", func() bool {
		if err := conn.SetDeadline(time.Now().Add(impatience)); err != nil {
			t.Fatal(err)
		}
		endpoint, err := question(conn, "?")
		return err == nil && endpoint == "10.244.1.2:5353"
	})
}
