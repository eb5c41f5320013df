// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func all(*model.Frontend) bool { return true }

func inspect(t *testing.T, d testTables, want model.Desired) dataplane.Inspection {
	t.Helper()
	before := d.generation(t)
	out, err := d.Examine(t.Context(), want, dataplane.Look{Shows: all})
	if err != nil {
		t.Fatal(err)
	}
	if after := d.generation(t); after != before {
		t.Errorf("Inspect has committed to the ruleset: generation %d, before %d", after, before)
	}
	slices.SortFunc(out.Differences, func(a, b inspection.Difference) int { return cmp.Compare(a.Object, b.Object) })
	return out.Inspection
}

// TestInspect checks that one that has programmed nothing finds what another has programmed equal,
// and names each object that was changed since. A Sync finds something to do if and only if it does.
func TestInspect(t *testing.T) {
	cases := map[string]struct {
		nft     []string // commands
		want    []string
		unequal []string // frontends
	}{
		"nothing": {},
		"an endpoint is deleted": {
			[]string{"delete element ip fairlead endpoints { tcp . 10.96.0.10 . 53 . 1 }"},
			[]string{"endpoints of 10.96.0.10:53/tcp: Different, 10.244.1.2:53 -> 10.244.1.2:53, 10.244.2.2:53"},
			[]string{"10.96.0.10:53/tcp"},
		},
		"a frontend is deleted": {
			[]string{"delete element ip fairlead services { tcp . 10.96.0.20 . 80 }"},
			[]string{"frontend 10.96.0.20:80/tcp: Missing,  -> goto refuse"},
			[]string{"10.96.0.20:80/tcp"},
		},
		"a frontend is added": {
			[]string{"add element ip fairlead services { tcp . 10.96.0.99 . 80 : drop }"},
			[]string{"frontend 10.96.0.99:80/tcp: Superfluous, drop -> "},
			[]string{"10.96.0.99:80/tcp"},
		},
		"a verdict is another one": {
			[]string{"delete element ip fairlead nodeports { tcp . 0.0.0.0 . 30080 }", "add element ip fairlead nodeports { tcp . 0.0.0.0 . 30080 : drop }"},
			[]string{"frontend 0.0.0.0:30080/tcp: Different, drop; only from [] -> goto refuse; only from []"},
			[]string{"0.0.0.0:30080/tcp"},
		},
		"a chain of a frontend is emptied": {
			[]string{"flush chain ip fairlead cluster-2"},
			[]string{"chain ip fairlead cluster-2: Different,  -> "},
			[]string{"10.96.0.10:53/tcp"},
		},
		"a chain of all has another rule": {
			[]string{"insert rule ip fairlead frontends drop"},
			[]string{"chain ip fairlead frontends: Different, other rules -> "},
			nil,
		},
		"a chain that nothing uses": {
			[]string{"add chain ip fairlead cluster-9"},
			[]string{"chain ip fairlead cluster-9: Superfluous,  -> "},
			nil,
		},
		"addresses": {
			[]string{"delete element ip fairlead cluster-ips { 10.96.0.10 }", "add element ip fairlead cluster-ips { 10.96.9.9 }"},
			[]string{"element ip fairlead cluster-ips 10.96.0.10: Missing,  -> ", "element ip fairlead cluster-ips 10.96.9.9: Superfluous,  -> "},
			nil,
		},
		"an element that is none of ours": {
			[]string{"add element ip fairlead endpoints { tcp . 10.96.0.10 . 53 . 99 : 10.244.1.2 . 53 }"},
			[]string{"element ip fairlead endpoints 060000000a60000a0035000063000000: Superfluous, not one of ours -> "},
			nil,
		},
		"a chain of another": {
			[]string{"add chain ip6 fairlead foreign"},
			[]string{"table ip6 fairlead: Different, foreign chain foreign -> "},
			[]string{"[2001:db8:2::7]:443/tcp", "[::]:30053/udp", "[fd00:96::10]:53/udp"},
		},
		"no table": {
			[]string{"delete table ip6 fairlead"},
			[]string{"table ip6 fairlead: Missing,  -> "},
			[]string{"[2001:db8:2::7]:443/tcp", "[::]:30053/udp", "[fd00:96::10]:53/udp"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			agent, want := s.dataplane(), mixed()
			mustSync(t, agent, want)
			for _, command := range tc.nft {
				s.Run("nft", command)
			}
			got := inspect(t, s.dataplane(), want)
			var differences, unequal []string
			for _, d := range got.Differences {
				differences = append(differences, d.Object+": "+string(d.Problem)+", "+d.Have+" -> "+d.Want)
			}
			for _, f := range got.Frontends {
				if !f.Equal {
					unequal = append(unequal, f.Address)
				}
			}
			slices.Sort(unequal)
			if diff := gocmp.Diff([][]string{tc.want, tc.unequal}, [][]string{differences, unequal}, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("differences and frontends that are not equal (-want +got):\n%s", diff)
			}
			if operations := mustSync(t, s.dataplane(), want).Operations; (operations > 0) != (len(differences) > 0) {
				t.Errorf("a Sync has %d operations", operations)
			}
		})
	}
}

// TestInspectElements checks that the commands of a frontend are what nft takes, and all that the
// maps have.
func TestInspectElements(t *testing.T) {
	s := newSpace(t)
	d, want := s.dataplane(), mixed()
	mustSync(t, d, want)
	got := inspect(t, s.dataplane(), want)
	var commands []string
	for _, f := range got.Frontends {
		if f.Address == "192.0.2.7:443/tcp" {
			if diff := gocmp.Diff(inspection.Frontend{Address: f.Address, Kind: model.KindLoadBalancer, Service: "/", Present: true, Equal: true,
				Internal: &inspection.Backend{Verdict: model.Forward, Endpoints: []string{"10.244.1.3:8443", "10.244.2.3:8443"}},
				External: &inspection.Backend{Verdict: model.Forward, Endpoints: []string{"10.244.1.3:8443"}},
			}, f, cmpopts.IgnoreFields(inspection.Frontend{}, "Rules")); diff != "" {
				t.Error(diff)
			}
		}
		commands = append(commands, f.Rules...)
	}
	slices.Sort(commands)
	commands = slices.Compact(commands)
	before := d.dumpForTest(t)
	for kind, names := range map[string]string{
		"map": "services services-external nodeports nodeports-external ports ports-external spread spread-local " +
			"endpoints endpoints-local affinity-choices affinity-choices-local",
		"set": "affinity-endpoints affinity-endpoints-local restricted",
	} {
		for _, name := range strings.Fields(names) {
			s.Run("nft", "flush "+kind+" ip fairlead "+name)
			s.Run("nft", "flush "+kind+" ip6 fairlead "+name)
		}
	}
	s.Feed(strings.Join(commands, "\n"), "nft", "-f", "-")
	if diff := gocmp.Diff(before, d.dumpForTest(t)); diff != "" {
		t.Errorf("what the commands make (-before +after):\n%s", diff)
	}
}
