// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testclock "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// The links of the node in tests without a kernel.
const (
	loopbackLink = 1
	podLink      = 7
	outsideLink  = 8
)

var (
	pod     = client{netip.MustParseAddr("10.244.1.2"), podLink}
	outside = client{netip.MustParseAddr("203.0.113.2"), outsideLink}
	host    = client{netip.MustParseAddr("192.168.0.2"), loopbackLink}
)

func endpoints(texts ...string) (out []model.Endpoint) {
	for _, text := range texts {
		out = append(out, netip.MustParseAddrPort(text))
	}
	return out
}

func forward(texts ...string) model.Backend {
	return model.Backend{Verdict: model.Forward, Masquerade: model.MasqueradeUnlessPod, Endpoints: endpoints(texts...)}
}

func key(address string, protocol model.Protocol) model.FrontendKey {
	ap := netip.MustParseAddrPort(address)
	return model.FrontendKey{Address: ap.Addr(), Port: ap.Port(), Protocol: protocol}
}

func newTestBalancer(f *model.Frontend) (*balancer, *testclock.FakePassiveClock) {
	clk := testclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	var in atomic.Pointer[inside]
	in.Store(&inside{podCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		nodePortSources: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/25")},
		addresses:       map[netip.Addr]struct{}{host.address: {}}, loopback: loopbackLink})
	b := newBalancer(clk, newAffinities(), &in)
	b.set(f)
	return b, clk
}

// answers calls choose a number of times, and counts the chosen endpoints.
func answers(b *balancer, c client, times int) map[string]int {
	out := map[string]int{}
	for range times {
		if e, ok := b.choose(c, nil); ok {
			out[e.String()]++
		} else {
			out["none"]++
		}
	}
	return out
}

func TestChoose(t *testing.T) {
	const one, two, three = "10.244.1.1:80", "10.244.1.2:80", "10.244.2.1:80"
	all := map[string]int{one: 2, two: 2, three: 2}
	none := map[string]int{"none": 6}
	local := model.Frontend{Internal: forward(one, two, three), External: forward(one)}
	nodePort := model.Frontend{Key: key("0.0.0.0:30001", model.TCP), Internal: forward(one), External: forward(one), Restricted: true}
	for name, c := range map[string]struct {
		frontend model.Frontend
		client   client
		want     map[string]int
	}{
		"round robin":            {model.Frontend{Internal: forward(one, two, three), External: forward(one, two, three)}, outside, all},
		"policy Local, a Pod":    {local, pod, all},
		"policy Local, the node": {local, host, all},
		"policy Local, the node, at an address of a link":      {local, client{host.address, outsideLink}, all},
		"policy Local, the node, from an address of a Service": {local, client{netip.MustParseAddr("10.96.0.1"), loopbackLink}, all},
		"policy Local, outside":                                {local, outside, map[string]int{one: 6}},
		"allowed source":                                       {model.Frontend{Internal: forward(one), External: forward(one), Restricted: true, Sources: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/25")}}, outside, map[string]int{one: 6}},
		"denied source":                                        {model.Frontend{Internal: forward(one), External: forward(one), Restricted: true, Sources: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/25")}}, pod, none},
		"no source is allowed":                                 {model.Frontend{Internal: forward(one), External: forward(one), Restricted: true}, outside, none},
		"node port, allowed source":                            {nodePort, outside, map[string]int{one: 6}},
		"node port, denied source":                             {nodePort, pod, none},
		"node port, the node":                                  {nodePort, host, map[string]int{one: 6}},
		"node port, the node, at an address of a link":         {nodePort, client{host.address, outsideLink}, map[string]int{one: 6}},
		"no endpoint here, from outside":                       {model.Frontend{Internal: forward(one), External: model.Backend{Verdict: model.Drop}}, outside, none},
		"no endpoint here, from a Pod":                         {model.Frontend{Internal: forward(one), External: model.Backend{Verdict: model.Drop}}, pod, map[string]int{one: 6}},
		"none anywhere":                                        {model.Frontend{Internal: model.Backend{Verdict: model.Reject}, External: model.Backend{Verdict: model.Reject}}, pod, none},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := newTestBalancer(&c.frontend)
			if diff := cmp.Diff(c.want, answers(b, c.client, 6)); diff != "" {
				t.Errorf("chosen (-want +got):\n%s", diff)
			}
		})
	}
}

// An endpoint that does not answer is skipped, and each is tried once.
func TestChooseAnother(t *testing.T) {
	b, _ := newTestBalancer(&model.Frontend{Internal: forward("10.244.1.1:80", "10.244.1.2:80"), External: forward("10.244.1.1:80", "10.244.1.2:80")})
	var tried []model.Endpoint
	for range 2 {
		e, ok := b.choose(pod, tried)
		if !ok {
			t.Fatalf("no endpoint after %v", tried)
		}
		for _, before := range tried {
			if before == e {
				t.Fatalf("%s again", e)
			}
		}
		tried = append(tried, e)
	}
	if e, ok := b.choose(pod, tried); ok {
		t.Errorf("got %s though all were tried", e)
	}
}

// Nodes that start at the same time must not all start with the first endpoint.
func TestTurnsBeginAnywhere(t *testing.T) {
	f := &model.Frontend{Internal: forward("10.244.1.1:80", "10.244.1.2:80"), External: forward("10.244.1.1:80", "10.244.1.2:80")}
	first := map[string]int{}
	for range 100 {
		b, _ := newTestBalancer(f)
		for e := range answers(b, pod, 1) {
			first[e]++
		}
	}
	if len(first) != 2 {
		t.Errorf("100 balancers started with %v", first)
	}
}

func sticky(seconds int32, backend model.Backend) *model.Frontend {
	return &model.Frontend{Internal: backend, External: backend, AffinityTimeoutSeconds: seconds, PortKey: key("10.96.0.1:80", model.TCP)}
}

func TestAffinity(t *testing.T) {
	both := forward("10.244.1.1:80", "10.244.1.2:80")
	b, clk := newTestBalancer(sticky(10, both))
	now := func(after time.Duration) { clk.SetTime(clk.Now().Add(after)) }
	first, _ := b.choose(pod, nil)
	same := func(want model.Endpoint, when string) {
		t.Helper()
		for range 3 {
			if e, _ := b.choose(pod, nil); e != want {
				t.Fatalf("%s: met %s, want %s", when, e, want)
			}
		}
	}
	same(first, "at once")
	for range 5 {
		now(9 * time.Second)
		same(first, "each connection renews the time")
	}
	now(10 * time.Second)
	second, _ := b.choose(pod, nil)
	if second == first {
		t.Errorf("still %s after the timeout", first)
	}
	b.set(sticky(100, both))
	now(50 * time.Second)
	same(second, "a longer timeout counts at once")
	b.set(sticky(1, both))
	now(2 * time.Second)
	if e, _ := b.choose(pod, nil); e == second {
		t.Errorf("a shorter timeout does not count")
	}
	b.set(sticky(1000, forward("10.244.2.1:80")))
	same(endpoints("10.244.2.1:80")[0], "the endpoint is gone")
	b.set(sticky(1000, forward("10.244.1.1:80", "10.244.1.2:80", "10.244.2.1:80")))
	same(endpoints("10.244.2.1:80")[0], "others come")
	// An endpoint that does not answer is replaced.
	other, ok := b.choose(pod, endpoints("10.244.2.1:80"))
	if !ok || other == endpoints("10.244.2.1:80")[0] {
		t.Fatalf("got %s", other)
	}
	same(other, "after a change")
}

// The frontends of a Service's port share their clients with session affinity.
func TestSharedAffinity(t *testing.T) {
	f := sticky(10, forward("10.244.1.1:80", "10.244.1.2:80", "10.244.1.3:80"))
	b, clk := newTestBalancer(f)
	other := newBalancer(clk, b.affinities, b.inside)
	other.set(f)
	want, _ := b.choose(outside, nil)
	for range 6 {
		if e, _ := other.choose(outside, nil); e != want {
			t.Fatalf("by another address: %s, want %s", e, want)
		}
	}
}

func TestAffinitiesAreBounded(t *testing.T) {
	a := newAffinities()
	a.limit = 1000
	now := time.Unix(1_800_000_000, 0)
	k, e := key("10.96.0.1:80", model.TCP), endpoints("10.244.1.1:80")[0]
	address := netip.MustParseAddr("10.0.0.0")
	for range a.limit + 10 {
		a.note(k, address, e, time.Minute, now)
		address = address.Next()
	}
	if a.size != a.limit || len(a.clients[k]) != a.limit {
		t.Errorf("remembers %d (%d) clients, want %d", a.size, len(a.clients[k]), a.limit)
	}
	a.note(k, address, e, time.Minute, now.Add(2*time.Minute))
	if a.size != 1 || len(a.clients[k]) != 1 {
		t.Errorf("remembers %d (%d) clients after their time, want 1", a.size, len(a.clients[k]))
	}
	a.tidy(nil, now)
	if a.size != 0 || len(a.clients) != 0 {
		t.Errorf("remembers %d clients of a frontend that is gone", a.size)
	}
}

func TestChooseInParallel(*testing.T) {
	f := sticky(10, forward("10.244.1.1:80", "10.244.1.2:80"))
	b, _ := newTestBalancer(f)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 1000 {
				b.choose(pod, nil)
				b.set(f)
			}
		})
	}
	group.Wait()
}
