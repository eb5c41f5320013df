// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bufio"
	"net"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
)

// released is a mode that another one has replaced.
type released struct {
	t *testing.T
	d dataplane.Dataplane
	o dataplane.Options
}

// by returns how long the mode still waits for its connections.
func (r released) by(to dataplane.Kind) time.Duration {
	r.t.Helper()
	wait, err := r.d.Released(r.t.Context(), to, few(), r.o)
	if err != nil || wait < 0 {
		r.t.Fatalf("Released returns %v, %v", wait, err)
	}
	return wait
}

// until asks as often as the mode wants until it waits no more.
func (r released) until(to dataplane.Kind) {
	r.t.Helper()
	for deadline := time.Now().Add(dataplane.TrackingTime + patience); ; {
		wait := r.by(to)
		if wait == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("it still waits, the next time %v", wait)
		}
		time.Sleep(min(wait, time.Second))
	}
}

// What a mode leaves for its open connections when another one has replaced it, until
// Cleanup would cut off nothing; and it can become active again at any time.
func testReleased(t *testing.T, s Subject) {
	n := s.node(t)
	before := n.Dump()
	n.Serve("10.244.1.2:8080", "10.244.1.3:8080")
	d := s.start(n)
	r := released{t, d, s.Options}
	synced(t, d, few())
	n.wantServed()
	kind := s.Mode().Kind
	if kind == dataplane.NAT {
		// Conntrack has the connections, as long as a rule needs it.
		programmed := n.Dump()
		for _, to := range []dataplane.Kind{dataplane.NAT, dataplane.LoadBalancer} {
			if wait := r.by(to); wait != 0 {
				t.Errorf("for a mode of kind %d it waits %v", to, wait)
			}
		}
		sameDump(t, "for modes that need conntrack it changes the kernel", programmed, n.Dump())
		n.testReleasedByProxy(r)
	} else {
		n.testReleasedByNAT(r)
	}
	synced(t, d, few())
	n.wantServed()
	if kind == dataplane.NAT {
		if wait := r.by(dataplane.Proxy); wait < dataplane.TrackingTime-time.Second {
			t.Errorf("after it was active again it waits %v", wait)
		}
	}
	cleanUp(t, d)
	n.wantDump("left after Cleanup", before, &s)
}

// testReleasedByProxy releases a mode of rules, whose place a Proxy's sockets take: no
// packet meets a rule any more, and open connections are translated for some time.
func (n *Node) testReleasedByProxy(r released) {
	r.t.Helper()
	open := n.open(r.t)
	wait := r.by(dataplane.Proxy)
	if wait > dataplane.TrackingTime || wait < dataplane.TrackingTime-time.Second {
		r.t.Errorf("for a Proxy it waits %v", wait)
	}
	if endpoint, err := n.ask(n.Outside, "tcp", "10.96.0.1:80", impatience); err == nil {
		r.t.Errorf("a new connection meets %s: the rules are still there", endpoint)
	}
	open.echo("when the rules are gone")
	if again := r.by(dataplane.Proxy); again == 0 || again >= wait {
		r.t.Errorf("it waits %v, and then %v", wait, again)
	}
	r.until(dataplane.Proxy)
}

// testReleasedByNAT releases a mode that its open connections need.
func (n *Node) testReleasedByNAT(r released) {
	r.t.Helper()
	open := n.open(r.t)
	for range 3 {
		if r.by(dataplane.NAT) == 0 {
			r.t.Error("it does not wait for an open connection")
		}
		open.echo("when another mode is active")
	}
	open.Close()
	r.until(dataplane.NAT)
}

// echoing is a connection to an endpoint.
type echoing struct {
	net.Conn
	t     *testing.T
	lines *bufio.Reader
}

// open connects to the Service web from outside.
func (n *Node) open(t *testing.T) echoing {
	t.Helper()
	conn, err := n.Dial(n.Outside, "tcp", "10.96.0.1:80", patience)
	if err != nil {
		t.Fatal(err)
	}
	e := echoing{conn, t, bufio.NewReader(conn)}
	if _, err := e.lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return e
}

// echo checks that the connection is still open.
func (e echoing) echo(when string) {
	e.t.Helper()
	err := e.SetDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = e.Write([]byte("still here?\n"))
	}
	if err == nil {
		_, err = e.lines.ReadString('\n')
	}
	if err != nil {
		e.t.Errorf("%s an open connection ends: %v", when, err)
	}
}
