// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// scheduled is a Service in one family, on four endpoints, to test a scheduler.
type scheduled struct {
	*network
	vip     string
	clients string // format of a client's address
	many    int    // connections to see a distribution
	web     model.Desired
}

// client is the address of the client with a number.
func (s *scheduled) client(i int) string { return fmt.Sprintf(s.clients, i%clientCount+2) }

// TestSchedulers checks that the kernel really balances by each scheduler. They are
// changed on live Services, whose open connections survive.
func TestSchedulers(t *testing.T) {
	n := newNetwork(t)
	var ep4, ep6 []string
	for i := range 4 {
		ep4 = append(ep4, fmt.Sprintf("10.244.0.%d:8080", i+1))
		ep6 = append(ep6, fmt.Sprintf("[fd00:244::%x]:8080", i+1))
	}
	web := desiredOf(clusterIP("10.96.0.1:80", model.TCP, ep4...), clusterIP("[fd00:96::1]:80", model.TCP, ep6...))
	families := map[string]*scheduled{
		"IPv4": {n, "10.96.0.1:80", "198.51.100.%d", 1000, web},
		"IPv6": {n, "[fd00:96::1]:80", "2001:db8::%x", 200, web},
	}
	n.sync(web)
	var open []*stream
	for _, f := range families {
		open = append(open, n.dial(f.vip), n.dial(f.vip))
	}
	for _, tc := range []struct {
		scheduler string
		flags     []string
		check     func(*scheduled, *testing.T)
		both      bool // families
	}{
		{"rr", nil, (*scheduled).evenly, true}, {"wrr", nil, (*scheduled).evenly, true},
		{"lc", nil, (*scheduled).least, true}, {"wlc", nil, (*scheduled).least, false},
		{"sed", nil, (*scheduled).least, false}, {"nq", nil, (*scheduled).least, false},
		{"lblc", nil, (*scheduled).oneUnlessBusy, false}, {"lblcr", nil, (*scheduled).oneUnlessBusy, false},
		{"sh", nil, (*scheduled).byClient, true}, {"mh", nil, (*scheduled).byClient, true},
		{"sh", []string{"sh-port"}, (*scheduled).byPort, false}, {"mh", []string{"mh-port"}, (*scheduled).byPort, false},
		{"sh", []string{"sh-fallback"}, (*scheduled).byClient, false}, {"mh", []string{"mh-fallback"}, (*scheduled).byClient, false},
		{"dh", nil, (*scheduled).one, false}, {"fo", nil, (*scheduled).one, true}, {"ovf", nil, (*scheduled).overflow, false},
	} {
		n.o.Scheduler, n.o.SchedulerFlags = tc.scheduler, tc.flags
		n.sync(web)
		for family, f := range families {
			f.web = web
			if family == "IPv4" || tc.both {
				t.Run(strings.Join(append([]string{tc.scheduler, family}, tc.flags...), " "), func(t *testing.T) { tc.check(f, t) })
			}
		}
		for _, s := range open {
			if err := s.works(); err != nil {
				t.Fatalf("%s has cut an open connection: %v", tc.scheduler, err)
			}
		}
	}
}

// evenly: each endpoint gets the same number.
func (s *scheduled) evenly(t *testing.T) {
	got := s.tally(s.vip, s.many, nil)
	want := map[string]int{}
	for e := range maps.Keys(got) {
		want[e] = s.many / 4
	}
	if diff := cmp.Diff(want, got); len(got) != 4 || diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
}

// hold opens connections and keeps them open.
func (s *scheduled) hold(count int) map[string][]*stream {
	s.t.Helper()
	out := map[string][]*stream{}
	thread(s.t, s.network.clients, func() error {
		for range count {
			c, err := dial("", s.vip, patience)
			if err != nil {
				return err
			}
			out[c.endpoint] = append(out[c.endpoint], c)
		}
		return nil
	})
	return out
}

func release(streams map[string][]*stream) {
	for _, list := range streams {
		for _, c := range list {
			c.cut()
		}
	}
}

// least: the endpoint with the fewest connections gets the next ones, until it has as many
// as the others.
func (s *scheduled) least(t *testing.T) {
	held := s.hold(40)
	defer release(held)
	for e, list := range held {
		if len(list) < 9 || len(list) > 11 { // the open ones from before count, too
			t.Errorf("%s has %d of 40 connections", e, len(list))
		}
	}
	for e, list := range held {
		for _, c := range list {
			c.cut()
		}
		held[e] = nil
		poll(t, "the end of the connections to "+e, func() bool { return s.active(e) <= 2 })
		more := s.hold(6)
		defer release(more)
		if len(more[e]) != 6 {
			t.Errorf("of 6 connections to the endpoint without any came %d: %v", len(more[e]), more)
		}
		return
	}
}

// active returns how many open connections the kernel counts at an endpoint.
func (s *scheduled) active(endpoint string) int {
	s.t.Helper()
	for key := range s.d.servers.byKey {
		reals, err := s.d.kernel.realServers(key)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, r := range reals {
			if r.endpoint.Addr().String() == endpoint {
				return r.active
			}
		}
	}
	return 0
}

// one: one endpoint gets everything, from all clients.
func (s *scheduled) one(t *testing.T) {
	if got := s.tally(s.vip, 30, s.client); len(got) != 1 {
		t.Errorf("connections came to %v", got)
	}
}

// oneUnlessBusy: one endpoint gets everything for one address, until it is overloaded.
func (s *scheduled) oneUnlessBusy(t *testing.T) {
	s.one(t)
	held := s.hold(20)
	defer release(held)
	if len(held) < 2 {
		t.Errorf("20 connections at a time came to %d endpoints", len(held))
	}
}

// byClient: each client gets one endpoint, different clients different ones. When an
// endpoint drains, its clients get others and are not rejected.
func (s *scheduled) byClient(t *testing.T) {
	where := map[string]string{}
	used := map[string]bool{}
	for i := range 40 {
		got := s.tally(s.vip, 3, func(int) string { return s.client(i) })
		if len(got) != 1 {
			t.Fatalf("client %d came to %v", i, got)
		}
		for e := range got {
			where[s.client(i)], used[e] = e, true
		}
	}
	if len(used) < 3 {
		t.Errorf("40 clients came to %d endpoints", len(used))
	}
	held := s.hold(1)
	defer release(held)
	for leaving, list := range held {
		s.sync(without(s.web, leaving))
		defer s.sync(s.web)
		for client, before := range where {
			for now := range s.tally(s.vip, 1, func(int) string { return client }) {
				if now == leaving || before != leaving && now != before {
					t.Errorf("%s came from %s to %s while %s drains", client, before, now, leaving)
				}
			}
		}
		if err := list[0].works(); err != nil {
			t.Errorf("the stream to the endpoint that drains: %v", err)
		}
	}
}

// byPort: one client gets several endpoints.
func (s *scheduled) byPort(t *testing.T) {
	if got := s.tally(s.vip, 40, func(int) string { return s.client(1) }); len(got) < 3 {
		t.Errorf("one client's connections came to %v", got)
	}
}

// overflow: one endpoint gets all until it has more connections than its weight, then the
// next one. When all have, connections are rejected: weights are 1.
func (s *scheduled) overflow(t *testing.T) {
	var order []string
	var open []*stream
	thread(t, s.network.clients, func() error {
		for {
			c, err := dial("", s.vip, patience)
			if errors.Is(err, unix.ECONNREFUSED) || len(open) > 20 {
				return nil
			}
			if err != nil {
				return err
			}
			open = append(open, c)
			if len(order) == 0 || order[len(order)-1] != c.endpoint {
				order = append(order, c.endpoint)
			}
		}
	})
	defer func() {
		for _, c := range open {
			c.cut()
		}
	}()
	t.Logf("%d connections came to %v", len(open), order)
	if len(order) > 4 || len(open) > 8 {
		t.Errorf("%d connections came to %v", len(open), order)
	}
}

// without returns desired without the endpoints at an address.
func without(desired model.Desired, endpoint string) model.Desired {
	out := desired
	out.Frontends = map[model.FrontendKey]*model.Frontend{}
	for key, f := range desired.Frontends {
		now := *f
		now.Internal.Endpoints = nil
		for _, e := range f.Internal.Endpoints {
			if e.Addr().String() != endpoint {
				now.Internal.Endpoints = append(now.Internal.Endpoints, e)
			}
		}
		now.External = now.Internal
		out.Frontends[key] = &now
	}
	return out
}
