// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

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

func inspect(t *testing.T, s *space, want model.Desired) dataplane.Inspection {
	t.Helper()
	before := s.state()
	out, err := s.dataplane().Inspect(t.Context(), want, dataplane.Look{Shows: func(*model.Frontend) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(before, s.state()); diff != "" {
		t.Errorf("Inspect has changed the kernel:\n%s", diff)
	}
	slices.SortFunc(out.Differences, func(a, b inspection.Difference) int { return cmp.Compare(a.Object, b.Object) })
	slices.SortFunc(out.Frontends, func(a, b inspection.Frontend) int { return cmp.Compare(a.Address, b.Address) })
	return out
}

// TestInspect checks that one that has programmed nothing finds all that another has programmed equal,
// with the endpoints that are desired.
func TestInspect(t *testing.T) {
	onBoth(t, func(t *testing.T, s *space) {
		want := mixed()
		mustSync(t, s.dataplane(), want)
		got := inspect(t, s, want)
		if len(got.Differences) > 0 {
			t.Errorf("differences: %+v", got.Differences)
		}
		backend := func(b model.Backend) *inspection.Backend {
			return &inspection.Backend{Verdict: b.Verdict, Endpoints: dataplane.EndpointTexts(b.Endpoints)}
		}
		var frontends []inspection.Frontend
		for key, f := range want.Frontends {
			w := dataplane.FrontendOf(key, f)
			w.Present, w.Equal = true, true
			w.Internal = backend(f.Internal)
			if f.ExternalDiffers() {
				w.External = backend(f.External)
			}
			if f.Restricted && len(f.Sources) == 0 && !key.IsNodePort() { // no packet gets further
				w.Internal, w.External = &inspection.Backend{Verdict: model.Drop}, &inspection.Backend{Verdict: model.Drop}
			}
			frontends = append(frontends, w)
		}
		slices.SortFunc(frontends, func(a, b inspection.Frontend) int { return cmp.Compare(a.Address, b.Address) })
		if diff := gocmp.Diff(frontends, got.Frontends, cmpopts.IgnoreFields(inspection.Frontend{}, "Rules")); diff != "" {
			t.Errorf("frontends (-want +got):\n%s", diff)
		}
		saved := s.Run("iptables-"+s.variant+"-save", "-t", "nat") + s.Run("ip6tables-"+s.variant+"-save", "-t", "nat")
		for _, f := range got.Frontends {
			for _, line := range f.Rules {
				if !strings.Contains(saved, line+"\n") {
					t.Errorf("%s: iptables-save does not print %s", f.Address, line)
				}
			}
		}
	})
}

// TestInspectDrift checks that each chain that was changed is named, with the Services whose it is.
func TestInspectDrift(t *testing.T) {
	web := chainFor(prefixTo, at("10.96.0.1:80/tcp"), internal)
	rule := "-d 10.96.0.1/32 -p tcp -m tcp --dport 80 -m comment --comment default/web-0:http -g " + web
	leaf := func(want model.Desired) string {
		w := newWanted(false)
		delta := model.Diff(model.NewDesired(), want)
		w.apply(&delta, &settings{})
		chain, _ := w.views[internal].leadsTo(at("10.96.0.1:80/tcp"))
		return chain
	}
	for name, tc := range map[string]struct {
		change func(leaf string) []string
		want   func(leaf string) inspection.Difference
		state  [2]bool // of the Service: present, equal
	}{
		"a chain is emptied": {
			func(string) []string { return []string{"-t", "nat", "-F", web} },
			func(string) inspection.Difference {
				return inspection.Difference{Object: "chain nat " + web, Problem: inspection.Different, Services: []string{"default/web-0"}}
			}, [2]bool{true, false},
		},
		"a frontend is deleted": {
			func(leaf string) []string { return append([]string{"-t", "nat", "-D", leaf}, strings.Fields(rule)...) },
			func(leaf string) inspection.Difference {
				return inspection.Difference{Object: "chain nat " + leaf, Problem: inspection.Different, Services: []string{"default/web-0"},
					Want: strings.Replace(rule, "default/web-0:http", `"default/web-0:http"`, 1)}
			}, [2]bool{false, false},
		},
		"a chain is added": {
			func(string) []string { return []string{"-t", "nat", "-N", prefix + "X"} },
			func(string) inspection.Difference {
				return inspection.Difference{Object: "chain nat FAIRLEAD-X", Problem: inspection.Superfluous}
			}, [2]bool{true, true},
		},
		"a jump is deleted": {
			func(string) []string { return []string{"-t", "nat", "-D", "PREROUTING", "-j", chainPrerouting} },
			func(string) inspection.Difference {
				return inspection.Difference{Object: "rule nat PREROUTING -j FAIRLEAD-PREROUTING", Problem: inspection.Missing, Want: "once"}
			}, [2]bool{true, true},
		},
		"a jump is there twice": {
			func(string) []string { return []string{"-t", "nat", "-A", "PREROUTING", "-j", chainPrerouting} },
			func(string) inspection.Difference {
				return inspection.Difference{Object: "rule nat PREROUTING -j FAIRLEAD-PREROUTING", Problem: inspection.Different, Have: "2 times", Want: "once"}
			}, [2]bool{true, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *space) {
				want := several(20, 3)
				mustSync(t, s.dataplane(), want)
				at := leaf(want)
				s.iptables(tc.change(at)...)
				got := inspect(t, s, want)
				if diff := gocmp.Diff([]inspection.Difference{tc.want(at)}, got.Differences); diff != "" {
					t.Errorf("differences (-want +got):\n%s", diff)
				}
				for _, f := range got.Frontends {
					state := [2]bool{true, true}
					if f.Service == "default/web-0" {
						state = tc.state
					}
					if got := [2]bool{f.Present, f.Equal}; got != state {
						t.Errorf("%s: present and equal %v, want %v", f.Address, got, state)
					}
				}
			})
		})
	}
}
