// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Another mode replaces IPVS. One connection of 50 servers is left, then none, or its time
// is over. As long as it is open, only its server is checked.
func TestReleased(t *testing.T) {
	const servers = 50
	for name, end := range map[string]func(*node, *realServer){
		"closed":      func(_ *node, r *realServer) { r.active = 0 },
		"at deadline": func(n *node, _ *realServer) { n.clock.Step(900 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			var list []*model.Frontend
			for i := range servers {
				list = append(list, clusterIP(fmt.Sprintf("10.96.0.%d:80", i+1), model.TCP, "10.244.0.1:80"))
			}
			d := desiredOf(list...)
			n.sync(d)
			key := onAddress(list[servers/2].Key)
			left := n.virtual[key].reals[endpoints("10.244.0.1:80")[0]]
			left.active = 1
			for i := range 3 {
				n.calls = 0
				wait, err := n.d.Released(context.Background(), dataplane.NAT, d, n.o)
				if err != nil || wait != releaseInterval {
					t.Fatalf("wait %v, error %v; want a busy one", wait, err)
				}
				if i > 0 && n.calls != 1 {
					t.Errorf("%d calls, want 1", n.calls)
				}
			}
			end(n, left)
			if wait, err := n.d.Released(context.Background(), dataplane.NAT, d, n.o); err != nil || wait != 0 {
				t.Errorf("wait %v, error %v; want released", wait, err)
			}
			left.active = 1
			n.sync(d)
			if wait, err := n.d.Released(context.Background(), dataplane.NAT, d, n.o); err != nil || wait != releaseInterval {
				t.Errorf("wait %v, error %v; want a busy one: IPVS was active in between", wait, err)
			}
		})
	}
}

// Virtual addresses have a source from Outgoing until IPVS is active again, whichever agent
// notices that.
func TestSources(t *testing.T) {
	const v4, v6 = "10.96.0.1:80", "[fd00:96::1]:80"
	d := desiredOf(clusterIP(v4, model.TCP, "10.244.0.1:80"), clusterIP(v6, model.TCP, "[fd00:244::1]:80"))
	d.Node.NodePortAddresses = []netip.Addr{addr("192.168.0.2")}
	released := func(n *node) error {
		_, err := n.d.Released(t.Context(), dataplane.NAT, d, n.o)
		return err
	}
	outgoing := func(n *node) error { return n.d.Outgoing(t.Context(), dataplane.NAT) }
	restart := func(n *node) error { n.restart(); return nil }
	sync := func(n *node) error { n.sync(d); return nil }
	apply := func(n *node) error {
		_, err := n.d.Apply(t.Context(), model.Delta{})
		return err
	}
	const set = "192.168.0.2"
	for name, c := range map[string]struct {
		calls []func(*node) error
		want  string
	}{
		"Sync":                                   {nil, ""},
		"Outgoing":                               {[]func(*node) error{outgoing}, set},
		"Released":                               {[]func(*node) error{outgoing, released, released}, set},
		"Released by a new agent":                {[]func(*node) error{restart, released}, set},
		"active again":                           {[]func(*node) error{outgoing, released, sync}, ""},
		"active again by a new agent":            {[]func(*node) error{outgoing, restart, sync}, ""},
		"a change before the new mode is active": {[]func(*node) error{outgoing, apply}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, "10.244.0.254", "192.168.0.2", "fd00::2")
			n.sync(d)
			n.connections(v4+"/tcp", "10.244.0.1:80", 1, 0)
			for i, call := range c.calls {
				if err := call(n); err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
			}
			want := map[netip.Addr]netip.Addr{}
			if c.want != "" {
				want[addr("10.96.0.1")] = addr(c.want)
			}
			if diff := cmp.Diff(want, n.sources, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("sources (-want +got):\n%s", diff)
			}
			if err := n.d.Cleanup(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// If a source cannot be set, it is tried as long as connections are waited for, and no
// longer.
func TestSourcesFail(t *testing.T) {
	n := newNode(t, "192.168.0.2")
	d := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80"))
	n.sync(d)
	n.connections("10.96.0.1:80/tcp", "10.244.0.1:80", 1, 0)
	n.fail["source of 10.96.0.1"] = errors.New("no memory")
	for range 2 {
		if _, err := n.d.Released(t.Context(), dataplane.NAT, d, n.o); err == nil {
			t.Error("no error")
		}
	}
	delete(n.fail, "source of 10.96.0.1")
	if wait, err := n.d.Released(t.Context(), dataplane.NAT, d, n.o); err != nil || wait != releaseInterval || len(n.sources) != 1 {
		t.Errorf("wait %v, error %v, %d sources", wait, err, len(n.sources))
	}
	n.restart()
	n.fail["source of 10.96.0.1"], n.sources = errors.New("no memory"), map[netip.Addr]netip.Addr{}
	n.d.Released(t.Context(), dataplane.NAT, d, n.o)
	n.clock.Step(900 * time.Second)
	if wait, err := n.d.Released(t.Context(), dataplane.NAT, d, n.o); err != nil || wait != 0 {
		t.Errorf("wait %v, error %v; want released", wait, err)
	}
}

// A process of the node connects while IPVS waits for its last connection. The connection
// belongs to the mode that is active, and outlives the virtual address.
func TestConnectionOutlivesAddress(t *testing.T) {
	n := newNetwork(t)
	const vip = "10.96.0.1:80"
	d := desiredOf(clusterIP(vip, model.TCP, "10.244.0.1:8080"))
	n.sync(d)
	open := n.dial(vip)
	if err := n.d.Outgoing(t.Context(), dataplane.NAT); err != nil {
		t.Fatal(err)
	}
	n.run("ip", "route", "add", "default", "via", "192.168.0.1") // before NAT, packets need a route
	n.run("nft", `delete table ip fairlead; add table ip test;
		add chain ip test output { type nat hook output priority -100; ip daddr 10.96.0.1 tcp dport 80 dnat to 10.244.0.1:8080; };
		add chain ip test postrouting { type nat hook postrouting priority 100; ip daddr 10.244.0.1 masquerade; }`)
	released := func() time.Duration {
		wait, err := n.d.Released(t.Context(), dataplane.NAT, d, n.o)
		if err != nil {
			t.Fatal(err)
		}
		return wait
	}
	if released() == 0 {
		t.Fatal("it does not wait for an open connection")
	}
	var late *stream
	thread(t, n.node, func() (err error) {
		late, err = dial("", vip, patience)
		return err
	})
	t.Cleanup(late.cut)
	open.cut()
	poll(t, "the last connection through IPVS", func() bool { return released() == 0 })
	thread(t, n.node, func() error { return n.d.Cleanup(t.Context()) })
	if err := late.works(); err != nil {
		t.Errorf("a connection through the new mode: %v", err)
	}
	if left := n.run("ip", "route", "show", "table", "local", "to", "10.96.0.0/16"); left != "" {
		t.Errorf("routes left after Cleanup:\n%s", left)
	}
}

// Where a Proxy is active, packets reach a virtual server before it has real servers. They
// are dropped until it has all.
func TestFromProxy(t *testing.T) {
	d := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80"))
	const (
		server, real = "add 10.96.0.1:80/tcp", "add 10.96.0.1:80/tcp -> 10.244.0.1:80"
		drops, stops = "table drops: true", "table drops: false"
	)
	sync := func(n *node) error {
		_, err := n.d.Sync(t.Context(), d, n.o)
		return err
	}
	n := newNode(t)
	if err := n.d.Incoming(t.Context(), dataplane.Proxy); err != nil {
		t.Fatal(err)
	}
	n.fail[real] = errors.New("no memory")
	if err := sync(n); err == nil {
		t.Fatal("no error")
	}
	n.expectSteps("add device", drops, "table", server, "only track")
	delete(n.fail, real)
	n.steps = nil
	if err := sync(n); err != nil {
		t.Fatal(err)
	}
	n.expectSteps(drops, "table", real, stops, "bind 10.96.0.1")
	n.unchanged(d)

}

// Where a NAT mode is active, its table may be replaced by ours, which leads to the
// addresses. After that the address of a Service comes last.
func TestFromNAT(t *testing.T) {
	d := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80"))
	n := newNode(t)
	if err := n.d.Incoming(t.Context(), dataplane.NAT); err != nil {
		t.Fatal(err)
	}
	n.sync(d)
	n.expectSteps("add device", "add 10.96.0.1:80/tcp", "add 10.96.0.1:80/tcp -> 10.244.0.1:80", "bind 10.96.0.1", "table")
	n.unchanged(d)
	more := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80"), clusterIP("10.96.0.2:80", model.TCP))
	n.apply(more)
	n.expectSteps("add 10.96.0.2:80/tcp", "table", "bind 10.96.0.2")
}

// A Proxy replaces IPVS: new connections of TCP are dropped for a moment, so that those that
// have just been opened are not cut off. Other flows go on, and all of them if IPVS is active
// again.
func TestClosed(t *testing.T) {
	tcp, udp := clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80"), clusterIP("10.96.0.1:53", model.UDP, "10.244.0.1:53")
	d := desiredOf(tcp, udp)
	n := newNode(t)
	wantVerdict := func(when string, want model.Verdict) {
		t.Helper()
		got := map[model.FrontendKey]model.Verdict{}
		for key, f := range n.d.filter.Desired().Frontends {
			got[key] = f.Internal.Verdict
		}
		diff := cmp.Diff(map[model.FrontendKey]model.Verdict{tcp.Key: want, udp.Key: model.Forward}, got,
			cmpopts.EquateComparable(model.FrontendKey{}))
		if diff != "" || n.dropping != (want == model.Drop) {
			t.Errorf("%s: dropping %v, verdicts (-want +got):\n%s", when, n.dropping, diff)
		}
	}
	released := func(ctx context.Context, want time.Duration) {
		t.Helper()
		if wait, err := n.d.Released(ctx, dataplane.Proxy, d, n.o); err != nil || wait != want {
			t.Errorf("wait %v, error %v; want %v", wait, err, want)
		}
	}
	n.sync(d)
	for range 2 {
		wantVerdict("active", model.Forward)
		done := make(chan struct{})
		go func() {
			defer close(done)
			released(t.Context(), 0)
		}()
		for !n.clock.HasWaiters() {
			runtime.Gosched()
		}
		wantVerdict("at first", model.Drop)
		n.clock.Step(closingTime - 1)
		if !n.clock.HasWaiters() {
			t.Error("it does not wait long enough")
		}
		n.clock.Step(1)
		<-done
		wantVerdict("at the end", model.Drop)
		released(t.Context(), 0) // the clean-up has failed
		n.sync(d)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	released(stopped, closingTime)
	n.sync(d)
	n.restart()
	released(t.Context(), 0) // an agent that was not active knows no tables
	if n.dropping {
		t.Error("an agent that was not active drops connections")
	}
}

// Another mode has the table. A new agent waits for the last connection to a node port that is gone, too, and cleans up.
func TestReleasedAfterRestart(t *testing.T) {
	n := newNode(t, "192.168.0.2")
	d := desiredOf(nodePort("30080", "10.244.0.1:80"))
	d.Node.NodePortAddresses = []netip.Addr{addr("192.168.0.2")}
	n.sync(d)
	n.connections("192.168.0.2:30080/tcp", "10.244.0.1:80", 1, 0)
	n.table, n.world.nodePorts = map[model.FrontendKey]uint32{}, map[netip.Addr]struct{}{}
	n.restart()
	for _, active := range []int{1, 0} {
		n.connections("192.168.0.2:30080/tcp", "10.244.0.1:80", active, 0)
		wait, err := n.d.Released(t.Context(), dataplane.NAT, desiredOf(), n.o)
		if err != nil || (wait > 0) != (active > 0) {
			t.Errorf("with %d connections it waits %v, error %v", active, wait, err)
		}
	}
	if err := n.d.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.expect()
}

// TestInherit checks that node ports of kube-proxy on addresses that ours do not answer on are drained when kube-proxy is gone, and
// that neither they before nor what is another program's at any time is touched. A new agent does it, too.
func TestInherit(t *testing.T) {
	d := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80"), nodePort("30080", "10.244.0.1:80"), nodePort("[::]:30080", "[fd00:244::1]:80"))
	d.Node.NodePortAddresses = []netip.Addr{addr("192.168.0.2"), addr("fd00::2")}
	ours := []string{"10.96.0.1:80/tcp rr 10.244.0.1:80", "192.168.0.2:30080/tcp rr flags 0x20 10.244.0.1:80", "[fd00::2]:30080/tcp rr flags 0x20 [fd00:244::1]:80"}
	foreign := []string{"10.244.0.254:30081/tcp wlc", "10.244.0.254:30080/udp wlc", "10.9.9.9:30080/tcp wlc"}
	left := []string{"10.244.0.254:30080/tcp wlc 10.244.0.1:80", "[fd00:244::fe]:30080/tcp wlc [fd00:244::1]:80"}
	for name, restarts := range map[string]bool{"the agent": false, "a new agent": true} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, "192.168.0.2", "10.244.0.254", "fd00::2", "fd00:244::fe")
			add := func(at string, p model.Protocol, reals ...string) {
				s := &fakeServer{server: server{scheduler: "wlc"}, reals: map[model.Endpoint]*realServer{}}
				for _, e := range endpoints(reals...) {
					s.reals[e] = &realServer{endpoint: e, weight: 1}
				}
				n.virtual[onAddress(clusterIP(at, p).Key)] = s
			}
			add("10.244.0.254:30080", model.TCP, "10.244.0.1:80")
			add("[fd00:244::fe]:30080", model.TCP, "[fd00:244::1]:80")
			add("10.244.0.254:30081", model.TCP) // no Service has it
			add("10.244.0.254:30080", model.UDP)
			add("10.9.9.9:30080", model.TCP) // not an address of the node
			n.connections("10.244.0.254:30080/tcp", "10.244.0.1:80", 1, 0)
			n.sync(d)
			n.expect(slices.Concat(ours, foreign, left)...)
			if restarts {
				n.restart()
			}
			n.d.Inherit()
			if got := n.sync(d); got.Repaired != 0 {
				t.Errorf("takes %d objects of kube-proxy for changes by others", got.Repaired)
			}
			n.expect(slices.Concat(ours, foreign, []string{"10.244.0.254:30080/tcp wlc flags 0x20 10.244.0.1:80*0"})...)
			if restarts { // in the middle
				n.restart()
				n.sync(d)
			}
			n.connections("10.244.0.254:30080/tcp", "10.244.0.1:80", 0, 1)
			n.sync(d)
			n.expect(slices.Concat(ours, foreign)...)
			add("10.244.0.254:30080", model.TCP)
			n.clock.Step(time.Hour)
			n.sync(d)
			n.expect(slices.Concat(ours, foreign, []string{"10.244.0.254:30080/tcp wlc"})...)
		})
	}
}
