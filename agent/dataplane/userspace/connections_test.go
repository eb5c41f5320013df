// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	testclock "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

func newTestConnections(files uint64) (*Connections, *testclock.FakePassiveClock) {
	clk := testclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	c := NewConnections()
	c.clock, c.files = clk, func() uint64 { return files }
	return c, clk
}

func to(address string) *connection { return &connection{local: netip.MustParseAddrPort(address)} }

// strangers are connections and sessions that share neither client nor Service.
type strangers struct{ n uint32 }

func (s *strangers) next() holder {
	s.n++
	source := netip.AddrFrom4([4]byte{203, 0, byte(s.n >> 8), byte(s.n)})
	return holder{model.ServiceID{Namespace: "default", Name: source.String()}, source}
}

func (s *strangers) connect(c *Connections) (*connection, bool) {
	h := s.next()
	n := &connection{client: netip.AddrPortFrom(h.source, 1024), local: netip.MustParseAddrPort("10.96.0.1:80")}
	return n, c.admit(n, h.service)
}

func TestRoom(t *testing.T) {
	c, clk := newTestConnections(160) // of which an eighth is reserved: 140
	notified := 0
	defer c.watch(func() { notified++ })()
	for range 40 {
		if err := c.admitSocket(); err != nil {
			t.Fatal(err)
		}
	}
	var open []*connection
	var all strangers
	for {
		n, ok := all.connect(c)
		if !ok {
			break
		}
		open = append(open, n)
	}
	if len(open) != 50 {
		t.Errorf("%d connections, want 50", len(open))
	}
	if c.admitSession(all.next()) == nil || !errors.Is(c.admitSocket(), unix.EMFILE) {
		t.Error("there is room for sessions and sockets though there is none")
	}
	if _, full := c.refusedFor(errFull); notified != 1 || !full || c.refused != 2 {
		t.Errorf("notified %d times, full: %v, refused %d", notified, full, c.refused)
	}
	c.release(open[0])
	for i, want := range []bool{true, true, false} {
		if (c.admitSession(all.next()) == nil) != want {
			t.Errorf("session %d: want room: %v, because a connection takes as much as two sessions", i, want)
		}
	}
	clk.SetTime(clk.Now().Add(lastingRefusal))
	if _, full := c.refusedFor(errFull); full {
		t.Error("still full")
	}
	_ = c.admitSession(all.next())
	if notified != 2 {
		t.Errorf("notified %d times, want once more", notified)
	}
}

// Listening sockets leave room for connections.
func TestRoomForSockets(t *testing.T) {
	c, _ := newTestConnections(160)
	sockets := 0
	for c.admitSocket() == nil {
		sockets++
	}
	connections := 0
	for all := (strangers{}); ; connections++ {
		if _, ok := all.connect(c); !ok {
			break
		}
	}
	if sockets != 80 || connections != 30 {
		t.Errorf("%d sockets and %d connections, want 80 and 30", sockets, connections)
	}
}

func TestAwait(t *testing.T) {
	c, _ := newTestConnections(1000)
	notified := 0
	defer c.watch(func() { notified++ })()
	a, b, other := to("10.96.0.1:80"), to("10.96.0.1:81"), to("10.96.0.2:80")
	for _, n := range []*connection{a, b, other} {
		c.admit(n, model.ServiceID{})
	}
	c.await(map[netip.Addr]struct{}{a.local.Addr(): {}})
	c.release(other)
	c.release(a)
	if notified != 0 {
		t.Error("notified although one is open")
	}
	c.release(b)
	if notified != 1 || len(c.open()) != 0 {
		t.Errorf("notified %d times, open: %v", notified, c.open())
	}
	c.awaitMore(other.local.Addr()) // too late
	if notified != 2 {
		t.Error("not notified of a connection that was closed before")
	}
}
