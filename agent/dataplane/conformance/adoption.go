// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// A new agent finds what the previous one programmed, and changes nothing: neither by its
// own count nor by the kernel's.
func testAdoption(t *testing.T, s Subject) {
	n := s.node(t)
	n.Serve(podEndpoints...)
	want := Everything()
	d := s.start(n)
	if first := synced(t, d, want); first.Operations == 0 || first.Repaired != 0 {
		t.Errorf("the first Sync: %+v", first)
	}
	before := n.Dump()
	if again := synced(t, d, want); again.Operations != 0 || again.Repaired != 0 {
		t.Errorf("another Sync: %+v", again)
	}
	sameDump(t, "another Sync changes the kernel", before, n.Dump())
	n.wantServed()
	before = n.Dump() // with what the kernel itself remembers now
	closed(t, d)
	s.adopted(t, s.start(n), want)
	sameDump(t, "a new agent changes the kernel", before, n.Dump())
	n.wantServed()
}

// wantServed checks that the Service web forwards to all of its endpoints.
func (n *Node) wantServed() {
	n.T.Helper()
	const to = "10.96.0.1:80"
	if got, endpoints := n.meet(n.Outside, "tcp", to, 24, served); got != served || len(endpoints) != 2 {
		n.T.Errorf("%s: %s by %v", to, got, endpoints)
	}
}

// The cost of one changed endpoint, one removed Service and one added Service does not
// depend on the number of Services; and packets go where they should afterwards.
func testCost(t *testing.T, s Subject) {
	costs := map[int][]int{}
	for _, size := range []int{100, s.many()} {
		n := s.node(t)
		n.Serve("10.244.1.2:8080", "10.244.1.3:8080")
		d := s.start(n)
		before := services(size)
		addService(&before, 42, "10.244.1.2:8080")
		addService(&before, 43, "10.244.1.2:8080", "10.128.0.44:8080", "10.129.0.44:8080")
		synced(t, d, before)
		step := func(change func(*model.Desired)) {
			t.Helper()
			after := before.Clone()
			change(&after)
			costs[size] = append(costs[size], apply(t, d, before, after).Operations)
			before = after
		}
		step(func(d *model.Desired) {
			addService(d, 43, "10.244.1.3:8080", "10.128.0.44:8080", "10.129.0.44:8080")
		})
		apply(t, d, before, withService(before, 42, "10.244.1.3:8080"))
		before = withService(before, 42, "10.244.1.3:8080")
		to := virtualAddress(42) + ":80"
		if got, endpoints := n.meet(n.Outside, "tcp", to, 4, served); got != served || !endpoints["10.244.1.3:8080"] || len(endpoints) != 1 {
			t.Errorf("among %d Services, after the endpoint has changed: %s by %v", size, got, endpoints)
		}
		step(func(d *model.Desired) {
			delete(d.Frontends, at(to+"/tcp"))
			delete(d.ClusterIPs, at(to+"/tcp").Address)
		})
		if got, _ := n.meet(n.Outside, "tcp", to, 1, silence); got == served {
			t.Errorf("among %d Services, without the Service: %s", size, got)
		}
		step(func(d *model.Desired) { addService(d, 42, "10.244.1.2:8080") })
		if got, _ := n.meet(n.Outside, "tcp", to, 1, served); got != served {
			t.Errorf("among %d Services, with the Service again: %s", size, got)
		}
		if size == 100 {
			closed(t, d)
			s.adopted(t, s.start(n), before)
		}
		closed(t, d)
	}
	for size, got := range costs {
		if got[0] != s.OneEndpoint {
			t.Errorf("one endpoint among %d Services costs %d operations, want %d", size, got[0], s.OneEndpoint)
		}
		if max(got[1], got[2]) > s.OneService || s.EndsWithProcess == "" && min(got[1], got[2]) == 0 {
			t.Errorf("to remove and to add a Service among %d costs %d and %d operations, want at most %d", size, got[1], got[2], s.OneService)
		}
	}
	t.Log(fmt.Sprint("operations by the number of Services: ", costs))
}

// withService returns a copy in which a Service has other endpoints.
func withService(d model.Desired, i int, endpoints ...string) model.Desired {
	d = d.Clone()
	addService(&d, i, endpoints...)
	return d
}
