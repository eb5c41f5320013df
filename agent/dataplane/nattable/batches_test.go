// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// smallBatches are tables whose batches end as soon as they may.
func (s *space) smallBatches() testTables {
	d := s.dataplane()
	d.BatchSize = 1
	return d
}

// reach is the endpoints of a frontend that a packet can reach, by view; none: it is refused
// or dropped.
type reach [views][]model.Endpoint

// reaches follows each frontend as a packet does. It fails the test if a packet can end
// where no rule handles it.
func reaches(t *testing.T, s *snapshot) map[model.FrontendKey]reach {
	t.Helper()
	out := map[model.FrontendKey]reach{}
	for key, h := range s.frontends {
		var r reach
		for v, held := range h.views {
			chain := held.verdict.chain
			list := s.lists[listKey{key, chain.list}]
			if held.port.isSet() && held.verdict.kind == absent {
				list = s.lists[listKey{held.port.home, listOf(view(v))}]
				chain = list.spread.chain
			} else if held.verdict.kind != forward {
				continue
			}
			if _, exists := s.chains[chain.name()]; !exists {
				t.Errorf("%s leads to the chain %q, which does not exist", key, chain.name())
			}
			endpoints := list.endpoints
			if chain.timeout > 0 {
				endpoints = list.choices
				for _, e := range endpoints[:min(len(endpoints), int(chain.n))] {
					if !slices.Contains(list.affine, e) {
						t.Errorf("%s: clients may not stay at %s", key, e)
					}
				}
			}
			if chain.n == 0 || len(endpoints) < int(chain.n) || slices.Contains(endpoints[:chain.n], model.Endpoint{}) {
				t.Errorf("%s has the chain %q and the endpoints %v: view %d, %+v, list %+v", key, chain.name(), endpoints, v, held, list)
				continue
			}
			r[v] = endpoints[:chain.n]
		}
		out[key] = r
	}
	return out
}

// consistent checks a state between two batches of a change.
func consistent(t *testing.T, d testTables, before, after *model.Desired) {
	t.Helper()
	for _, l := range d.layouts {
		s, err := l.read(t.Context(), d.Client)
		if err != nil {
			t.Fatal(err)
		}
		if s.broken != "" {
			t.Fatal(s.broken)
		}
		got := reaches(t, s)
		for key, was := range before.Frontends {
			is := after.Frontends[key]
			if is == nil || !l.ours(key.Address) {
				continue
			}
			old, now := maps.Collect(was.Views()), maps.Collect(is.Views())
			for v, b := range old {
				if b.Verdict != model.Forward || now[v].Verdict != model.Forward {
					continue
				}
				if len(got[key][v]) == 0 {
					t.Errorf("%s has no endpoints in view %d", key, v)
				}
				for _, e := range got[key][v] {
					if !slices.Contains(b.Endpoints, e) && !slices.Contains(now[v].Endpoints, e) {
						t.Errorf("%s leads to %s, neither before nor after the change", key, e)
					}
				}
			}
			if h := s.frontends[key]; was.Restricted && is.Restricted {
				for _, source := range is.Sources {
					if slices.Contains(was.Sources, source) && !slices.Contains(h.sources, source) {
						t.Errorf("%s drops clients in %s", key, source)
					}
				}
				if !h.restricted {
					t.Errorf("%s is open to all clients", key)
				}
			}
		}
		for key := range got {
			if f := after.Frontends[key]; f != nil && before.Frontends[key] == nil && f.Restricted && !s.frontends[key].restricted {
				t.Errorf("%s is open to all clients", key)
			}
		}
		lookedUp := l.sourcesChain(slices.Sorted(maps.Keys(contentsOf(l, s, changed{}).ranges)))
		if have, exists := s.chains[chainSources]; exists && len(have) < len(lookedUp.Rules) {
			t.Errorf("%s looks up %d lengths of %d", chainSources, len(have)-1, len(lookedUp.Rules)-1)
		}
	}
}

// TestEachBatchIsConsistent checks random changes that are made in as many batches as
// possible: after each batch every frontend leads to its endpoints, and if nothing follows,
// the next Sync finishes.
func TestEachBatchIsConsistent(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			before, after := randomDesired(r), randomDesired(r)
			if seed == 0 {
				before = model.NewDesired()
			}
			reference := newSpace(t).dataplane()
			mustSync(t, reference, after)
			want := reference.dumpForTest(t)
			last := 1
			for k := 0; k < last; k += 1 + last/8 {
				s := newSpace(t)
				d := s.smallBatches()
				mustSync(t, d, before)
				err := d.PlanDelta(model.Diff(before, after))
				if seed%2 == 1 { // by a new agent
					d = s.smallBatches()
					_, err = d.Plan(t.Context(), after)
				}
				if err != nil {
					t.Fatal(err)
				}
				batches := d.next.batches.inOrder()
				if last = len(batches); last < 20 {
					t.Fatalf("%d batches", last)
				}
				for i, b := range batches[:k] {
					if err := d.Client.Commit(t.Context(), b); err != nil {
						t.Fatalf("batch %d of %d: %v", i, last, err)
					}
					if k > last*3/4 { // each state once
						consistent(t, d, &before, &after)
					}
				}
				again := s.smallBatches()
				mustSync(t, again, after)
				if diff := cmp.Diff(want, again.dumpForTest(t)); diff != "" {
					t.Errorf("finished (+) after batch %d of %d is not as programmed at once (-):\n%s", k, last, diff)
				}
				if got := mustSync(t, s.dataplane(), after); got.Operations != 0 {
					t.Errorf("after batch %d of %d and a Sync: %+v", k, last, got)
				}
				if t.Failed() {
					return
				}
			}
			t.Logf("%d batches", last)
		})
	}
}

// TestHooksComeLast checks that a table that is not complete sees no packets.
func TestHooksComeLast(t *testing.T) {
	d, desired := newSpace(t).smallBatches(), ofPort(false)
	if _, err := d.Plan(t.Context(), desired); err != nil {
		t.Fatal(err)
	}
	batches := d.next.batches.inOrder()
	for i, b := range batches {
		if err := d.Client.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for _, l := range d.layouts {
			s, err := l.read(t.Context(), d.Client)
			if err != nil {
				t.Fatal(err)
			}
			if _, hooked := s.chains[chainPrerouting]; hooked && !l.V6() && len(s.frontends) < len(desired.Frontends) {
				t.Errorf("after batch %d of %d packets see %d of %d frontends", i, len(batches), len(s.frontends), len(desired.Frontends))
			}
		}
	}
}

// TestBatchSize checks that no batch is much larger than the limit, except one that
// replaces a table.
func TestBatchSize(t *testing.T) {
	const size, slack = 500, 100 // a batch may also have all chains
	s := newSpace(t)
	d, desired := s.dataplane(), full(300)
	d.BatchSize = size
	plan := func() []*nft.Batch {
		t.Helper()
		if _, err := d.Plan(t.Context(), desired); err != nil {
			t.Fatal(err)
		}
		return d.next.batches.inOrder()
	}
	batches := plan()
	for i, b := range batches {
		if n := b.Operations(); n > size+slack {
			t.Errorf("batch %d has %d operations", i, n)
		}
	}
	if len(batches) < 5 {
		t.Errorf("%d batches", len(batches))
	}
	before := d.generation(t)
	if _, err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := d.generation(t) - before; int(n) != len(batches) {
		t.Errorf("%d commits for %d batches", n, len(batches))
	}
	if got := mustSync(t, d, desired); got.Operations != 0 || got.Repaired != 0 {
		t.Errorf("the next Sync: %+v", got)
	}
	s.Run("nft", "add", "set", "ip", "fairlead", "foreign", "{ type ipv4_addr; }")
	if batches = plan(); len(batches) != 2 {
		t.Fatalf("a table is replaced in %d batches", len(batches))
	}
	// The first one only makes the old table drop what it refuses.
	if err := d.Client.Commit(t.Context(), batches[0]); err != nil {
		t.Fatal(err)
	}
	if list := s.Run("nft", "list", "chain", "ip", "fairlead", "refuse"); strings.Contains(list, "reject") || !strings.Contains(list, "drop") {
		t.Errorf("before the table is replaced:\n%s", list)
	}
	if list := s.Run("nft", "list", "table", "ip", "fairlead"); !strings.Contains(list, "set foreign") {
		t.Errorf("the table is replaced at once:\n%s", list)
	}
	mustSync(t, d, desired)
	if list := s.Run("nft", "list", "chain", "ip", "fairlead", "refuse"); !strings.Contains(list, "reject") || strings.Contains(list, "drop") {
		t.Errorf("after the table is replaced:\n%s", list)
	}
}

// TestNewChainsComeFirst checks that a chain exists before an element leads to it: a packet
// that is being looked up sees the new element, and the chain as it was before the batch.
func TestNewChainsComeFirst(t *testing.T) {
	const key = "10.96.0.1:80/tcp"
	for name, tc := range map[string]struct {
		plan  func(s *space, d testTables, before, after model.Desired) error
		first bool
	}{
		"a change": {func(_ *space, d testTables, before, after model.Desired) error {
			return d.PlanDelta(model.Diff(before, after))
		}, true},
		"tables that were read": {func(_ *space, d testTables, _, after model.Desired) error {
			d.Forget()
			_, err := d.Plan(t.Context(), after)
			return err
		}, true},
		"tables that others have damaged": {func(s *space, d testTables, _, after model.Desired) error {
			s.Run("nft", "flush chain ip fairlead "+chainFrontends+"; delete chain ip fairlead "+chainUnused)
			_, err := d.Plan(t.Context(), after)
			return err
		}, false}, // they may lead to the constant chains
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t)
			d, before, after := s.dataplane(), model.NewDesired(), model.NewDesired()
			put(&before, key, clusterIP("10.0.0.1:80", "10.0.0.2:80"))
			put(&after, key, clusterIP("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"))
			mustSync(t, d, before)
			if err := tc.plan(s, d, before, after); err != nil {
				t.Fatal(err)
			}
			chains := d.next.batches[1].chains.Batch
			if first := d.next.batches.inOrder()[0] == chains; first != tc.first || first != (chains.Operations() > 0) {
				t.Errorf("new chains come first: %v, with %d operations", first, chains.Operations())
			}
			if _, err := d.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			reference := newSpace(t).dataplane()
			mustSync(t, reference, after)
			if diff := cmp.Diff(reference.dumpForTest(t), d.dumpForTest(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLookupsStopBeforeTheTableGoes checks that no packet is being looked up when the maps go.
func TestLookupsStopBeforeTheTableGoes(t *testing.T) {
	for name, remove := range map[string]func(testTables) error{
		"clean-up":                     func(d testTables) error { return d.Cleanup(t.Context()) },
		"only connections are tracked": func(d testTables) error { return d.OnlyTrack(t.Context(), true) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newSpace(t).dataplane()
			mustSync(t, d, mixed())
			before := d.generation(t)
			if err := remove(d); err != nil {
				t.Fatal(err)
			}
			if got := d.generation(t) - before; got != 2*2 { // for each family: stop, and delete
				t.Errorf("%d commits, want 4", got)
			}
			if err := d.Cleanup(t.Context()); err != nil {
				t.Error("clean up once more:", err)
			}
		})
	}
}

// Before Linux 6.17 a packet misses an element that is replaced in that moment. What has the
// address of a ClusterIP is looked up again, by all the rules of before, and only then refused.
func TestLookAgain(t *testing.T) {
	s := newSpace(t)
	mustSync(t, s.dataplane(), mixed())
	lookups := func(chain string) (out []string) {
		for _, line := range strings.Split(s.Run("nft", "list", "chain", "ip", TableName, chain), "\n") {
			if strings.Contains(line, "@services") || strings.Contains(line, "@nodeports ") || strings.Contains(line, "@ports") {
				out = append(out, line)
			}
		}
		return out
	}
	first, again := lookups(chainFrontends), lookups(chainAgain)
	if diff := cmp.Diff(first, again); diff != "" || len(first) == 0 {
		t.Errorf("(-first +again):\n%s", diff)
	}
	rules := s.Run("nft", "list", "chain", "ip", TableName, chainFrontends)
	if !strings.Contains(rules, "ip daddr @cluster-ips goto "+chainAgain) {
		t.Errorf("not looked up again: %s", rules)
	}
	if rules = s.Run("nft", "list", "chain", "ip", TableName, chainAgain); !strings.Contains(rules, "goto "+chainRefuse) {
		t.Errorf("not refused: %s", rules)
	}
}
