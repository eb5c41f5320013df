// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// part returns part i of n of a Service with endpoints from first to last.
func part(service string, i, n int32, first, last int) *v1alpha1.ServiceRuleSliceSpec {
	var addresses []string
	for a := first; a <= last; a++ {
		addresses = append(addresses, fmt.Sprintf("10.1.%d.%d", a/250, a%250+1))
	}
	spec := agenttest.Web("10.96.0.1", addresses...)
	spec.ServiceName, spec.Part, spec.Parts = service, i, n
	spec.Digest = model.Digest(*spec)
	return spec
}

func whole(service string, first, last int) *v1alpha1.ServiceRuleSliceSpec {
	return part(service, 0, 1, first, last)
}

// lab is a store and what the API shows it.
type lab struct {
	*testing.T
	*sliceSink
	clock *clocktesting.FakeClock
}

func newLab(t *testing.T, before ...*v1alpha1.ServiceRuleSliceSpec) lab {
	clk := clocktesting.NewFakeClock(time.Now())
	in := NewStore(clk.Now)
	in.SetNode(testNodeRules(1))
	in.NodeSynced()
	l := lab{t, NewSliceSink(t.Context(), in, nil, func(string, error) {}).(*sliceSink), clk}
	l.list(before...)
	return l
}

func (l lab) list(specs ...*v1alpha1.ServiceRuleSliceSpec) {
	var all []any
	for _, spec := range specs {
		all = append(all, agenttest.Slice(spec))
	}
	if err := l.Replace(all, ""); err != nil {
		l.Error(err)
	}
}

func (l lab) set(specs ...*v1alpha1.ServiceRuleSliceSpec) {
	for _, spec := range specs {
		if err := l.Update(agenttest.Slice(spec)); err != nil {
			l.Error(err)
		}
	}
}

// lose deletes slices without the controller's mark.
func (l lab) lose(specs ...*v1alpha1.ServiceRuleSliceSpec) {
	for _, spec := range specs {
		if err := l.Delete(agenttest.Slice(spec)); err != nil {
			l.Error(err)
		}
	}
}

func marked(spec *v1alpha1.ServiceRuleSliceSpec) *v1alpha1.ServiceRuleSlice {
	s := agenttest.Slice(spec)
	s.Annotations = map[string]string{v1alpha1.AnnotationObsolete: "true"}
	return s
}

// finish deletes slices as the controller does.
func (l lab) finish(specs ...*v1alpha1.ServiceRuleSliceSpec) {
	for _, spec := range specs {
		if err := errors.Join(l.Update(marked(spec)), l.Delete(marked(spec))); err != nil {
			l.Error(err)
		}
	}
}

// check judges all that is held by what the API wants.
func (l lab) check(wanted ...*v1alpha1.ServiceRuleSliceSpec) {
	for _, s := range heldServices(l.store, 1000) {
		judge(l.store, s, of(s.name, wanted), nil)
	}
}

// of returns what is wanted of a Service whose slices these would be, among others.
func of(service types.NamespacedName, wanted []*v1alpha1.ServiceRuleSliceSpec) model.Wanted {
	out := model.Wanted{Families: map[corev1.IPFamily]bool{}, Endpoints: map[string]bool{}}
	for _, w := range wanted {
		if w.ServiceName == service.Name && w.ServiceNamespace == service.Namespace {
			out.Families[w.AddressFamily] = true
			for address := range usableOf(w) {
				out.Endpoints[address] = true
			}
		}
	}
	return out
}

// inEffect describes the slices in effect: name and number of endpoints.
func (l lab) inEffect() string {
	_, specs := l.store.Snapshot()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(specs)) {
		out = append(out, fmt.Sprintf("%s %d", strings.TrimPrefix(name, "default."), len(specs[name].Endpoints)))
	}
	return strings.Join(out, ", ")
}

// Services of the cases.
var (
	holdA, holdB, holdC = whole("a", 1, 60), whole("b", 61, 120), whole("c", 121, 122)
	holdEmpty           = whole("c", 1, 0)
)

type holdCase struct {
	before []*v1alpha1.ServiceRuleSliceSpec
	do     func(lab)
	want   string // in effect
	held   Held   // without Err
}

var holdCases = map[string]holdCase{
	"deleted by the controller":              {list(holdA, holdC), func(l lab) { l.finish(holdC) }, "a-v4-0 60", Held{}},
	"deleted by the controller, not watched": {list(holdA, holdC), func(l lab) { _ = l.Delete(marked(holdC)) }, "a-v4-0 60", Held{}},
	"marked, and not deleted yet":            {list(holdA, holdC), func(l lab) { _ = l.Update(marked(holdC)) }, "a-v4-0 60", Held{}},
	"marked in a list":                       {list(holdA, holdC), func(l lab) { _ = l.Replace([]any{agenttest.Slice(holdA), marked(holdC)}, "") }, "a-v4-0 60", Held{}},
	"marked, and wanted again":               {list(holdA, holdC), func(l lab) { _ = l.Update(marked(holdC)); l.set(holdC) }, "a-v4-0 60, c-v4-0 2", Held{}},
	"marked by another":                      {list(holdA, holdC), func(l lab) { s := marked(holdC); s.ManagedFields = nil; _ = l.Delete(s) }, "a-v4-0 60, c-v4-0 2", Held{Slices: 1, Endpoints: 2}},
	"deleted by another":                     {list(holdA, holdC), func(l lab) { l.lose(holdC) }, "a-v4-0 60, c-v4-0 2", Held{Slices: 1, Endpoints: 2}},
	"deleted, without endpoints":             {list(holdA, holdEmpty), func(l lab) { l.lose(holdEmpty); l.check(holdA, holdEmpty) }, "a-v4-0 60, c-v4-0 0", Held{Slices: 1}},
	"deleted and restored":                   {list(holdA, holdC), func(l lab) { l.lose(holdC); l.set(holdC) }, "a-v4-0 60, c-v4-0 2", Held{}},
	"deleted and restored with a change":     {list(holdA, holdC), func(l lab) { l.lose(holdC); l.set(whole("c", 121, 121)) }, "a-v4-0 60, c-v4-0 1", Held{}},
	"deleted, and the Service is gone":       {list(holdA, holdC), func(l lab) { l.lose(holdC); l.check(holdA) }, "a-v4-0 60", Held{}},
	"deleted, and the Service lives":         {list(holdA, holdC), func(l lab) { l.lose(holdC); l.check(holdA, holdC) }, "a-v4-0 60, c-v4-0 2", Held{Slices: 1, Endpoints: 2}},
	"deleted, and its family is gone": {list(holdA, holdC), func(l lab) {
		six := whole("c", 121, 122)
		six.AddressFamily = "IPv6"
		l.lose(holdC)
		l.check(holdA, six)
	}, "a-v4-0 60", Held{}},
	"deleted, and it cannot be found out": {list(holdA, holdC), func(l lab) {
		l.lose(holdC)
		judge(l.store, heldServices(l.store, 1)[0], model.Wanted{}, errors.New("forbidden"))
	}, "a-v4-0 60, c-v4-0 2", Held{Slices: 1, Endpoints: 2}},
	"restored while it is judged": {list(holdA, holdC), func(l lab) {
		l.lose(holdC)
		held := heldServices(l.store, 1)[0]
		l.set(holdC)
		judge(l.store, held, model.Wanted{}, nil)
	}, "a-v4-0 60, c-v4-0 2", Held{}},
	"deleted again while it is judged": {list(holdA, holdC), func(l lab) {
		l.lose(holdC)
		held := heldServices(l.store, 1)[0]
		l.set(holdC)
		l.lose(holdC)
		judge(l.store, held, model.Wanted{}, nil)
	}, "a-v4-0 60, c-v4-0 2", Held{Slices: 1, Endpoints: 2}},
	"all deleted":                             {list(holdA, holdB, holdC), func(l lab) { l.lose(holdA, holdB, holdC) }, "a-v4-0 60, b-v4-0 60, c-v4-0 2", Held{Slices: 3, Endpoints: 122}},
	"all deleted, changes and new ones come":  {list(holdA, holdB), func(l lab) { l.lose(holdA, holdB); l.set(whole("a", 1, 61), holdC) }, "a-v4-0 61, b-v4-0 60, c-v4-0 2", Held{Slices: 1, Endpoints: 60}},
	"an empty list":                           {list(holdA, holdC), func(l lab) { l.list() }, "a-v4-0 60, c-v4-0 2", Held{Slices: 2, Endpoints: 62}},
	"an older list":                           {list(holdA, holdC), func(l lab) { l.list(whole("a", 1, 50)) }, "a-v4-0 50, c-v4-0 2", Held{Slices: 1, Endpoints: 2}},
	"an incomplete list, then a complete one": {list(holdA, holdC), func(l lab) { l.list(holdC); l.list(holdA, holdC) }, "a-v4-0 60, c-v4-0 2", Held{}},
	"not listed, and really gone":             {list(holdA, holdC), func(l lab) { l.list(holdA); l.check(holdA) }, "a-v4-0 60", Held{}},
	"from the checkpoint, not listed": {nil, func(l lab) {
		l.store.Restore(testNodeRules(1), agenttest.Listed(holdA, holdC))
		l.list(holdC)
	}, "a-v4-0 60, c-v4-0 2", Held{Slices: 1, Endpoints: 60}},

	"a superfluous part is gone": {list(part("a", 0, 2, 1, 40), part("a", 1, 2, 41, 60)), func(l lab) {
		l.set(holdA)
		l.lose(part("a", 1, 2, 41, 60))
		l.check(holdA)
	}, "a-v4-0 60", Held{}},
	"a part is gone": {list(part("a", 0, 2, 1, 40), part("a", 1, 2, 41, 60)), func(l lab) {
		l.lose(part("a", 1, 2, 41, 60))
		l.check(holdA)
	}, "a-v4-0 40, a-v4-1 20", Held{Slices: 1, Endpoints: 20}},

	"the controller deletes half": {list(holdA, holdB), func(l lab) { l.finish(holdA) }, "b-v4-0 60", Held{}},
	"the controller deletes most": {list(holdA, holdB, holdC), func(l lab) { l.finish(holdA, holdB, holdC) }, "b-v4-0 60, c-v4-0 2", Held{Slices: 2, Endpoints: 62}},
	"most of it slowly":           {list(holdA, holdB, holdC), func(l lab) { l.finish(holdA); l.clock.Step(10 * time.Second); l.finish(holdB) }, "c-v4-0 2", Held{}},
	"most, and they are gone":     {list(holdA, holdB, holdC), func(l lab) { l.finish(holdA, holdB); l.check(holdC) }, "c-v4-0 2", Held{}},
	"most, they are gone, and then more": {list(holdA, holdB, holdC), func(l lab) {
		l.finish(holdA, holdB)
		l.check(holdC)
		l.finish(holdC)
	}, "", Held{}},
	"most, and they live":               {list(holdA, holdB, holdC), func(l lab) { l.finish(holdA, holdB); l.check(holdA, holdB, holdC) }, "b-v4-0 60, c-v4-0 2", Held{Slices: 1, Endpoints: 60}},
	"the controller removes endpoints":  {list(holdA, holdB), func(l lab) { l.set(whole("a", 1, 0), whole("b", 1, 0)) }, "a-v4-0 0, b-v4-0 60", Held{Slices: 1, Endpoints: 60}},
	"endpoints, and they are gone":      {list(holdA, holdB), func(l lab) { l.set(whole("a", 1, 0), whole("b", 1, 0)); l.check(whole("a", 1, 0), whole("b", 1, 0)) }, "a-v4-0 0, b-v4-0 0", Held{}},
	"endpoints, and one is there":       {list(holdA, holdB), func(l lab) { l.set(whole("a", 1, 0), whole("b", 1, 0)); l.check(whole("a", 1, 0), whole("b", 61, 61)) }, "a-v4-0 0, b-v4-0 60", Held{Slices: 1, Endpoints: 60}},
	"endpoints, then the slice":         {list(holdA, holdB), func(l lab) { l.set(whole("a", 1, 0), whole("b", 1, 0)); l.finish(holdB) }, "a-v4-0 0, b-v4-0 60", Held{Slices: 1, Endpoints: 60}},
	"endpoints move to another Service": {list(holdA, holdC), func(l lab) { l.set(holdB); l.finish(holdA) }, "b-v4-0 60, c-v4-0 2", Held{}},
	"all endpoints are replaced":        {list(whole("a", 1, 120)), func(l lab) { l.set(whole("a", 300, 419)) }, "a-v4-0 120", Held{}},
	"endpoints move to a new part": {list(whole("a", 1, 200)), func(l lab) {
		l.set(part("a", 1, 2, 50, 200), part("a", 0, 2, 1, 49))
	}, "a-v4-0 49, a-v4-1 151", Held{}},
	"endpoints lose their ports": {list(whole("a", 1, 200)), func(l lab) {
		bad := whole("a", 1, 200)
		for i := range bad.Endpoints {
			bad.Endpoints[i].TargetPorts = []int32{0}
		}
		l.set(bad)
	}, "a-v4-0 200", Held{Slices: 1, Endpoints: 200}},
	"endpoints are drained": {list(whole("a", 1, 200)), func(l lab) {
		bad := whole("a", 1, 200)
		for i := range bad.Endpoints {
			bad.Endpoints[i].State = v1alpha1.EndpointDraining
		}
		l.set(bad)
	}, "a-v4-0 200", Held{Slices: 1, Endpoints: 200}},
}

func TestHold(t *testing.T) { runHoldCases(t, holdCases) }

func runHoldCases(t *testing.T, cases map[string]holdCase) {
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, tc.before...)
			tc.do(l)
			if got := l.inEffect(); got != tc.want {
				t.Errorf("in effect: %s, want %s", got, tc.want)
			}
			got := l.store.Held()
			got.Err = nil
			if diff := cmp.Diff(tc.held, got); diff != "" {
				t.Errorf("held (-want +got):\n%s", diff)
			}
		})
	}
}

func list(specs ...*v1alpha1.ServiceRuleSliceSpec) []*v1alpha1.ServiceRuleSliceSpec { return specs }

// TestHeldIsReported says what stands in the status once a check has found no evidence.
func TestHeldIsReported(t *testing.T) {
	all := list(whole("a", 1, 2), whole("b", 1, 2), whole("c", 1, 2), whole("d", 1, 2))
	l := newLab(t, all...)
	l.lose(all...)
	report := func() string {
		ch, ok := l.store.Take()
		if !ok || ch.Held.Slices != len(l.store.holds.byName) {
			t.Errorf("taken: %v, %+v", ok, ch.Held)
		}
		if ch.Held.Err == nil {
			return ""
		}
		return strings.ReplaceAll(ch.Held.Err.Error(), "\n", "; ")
	}
	if got := report(); got != "" {
		t.Errorf("before a check: %q", got)
	}
	l.check(all...)
	const exists = "the apiserver still has the Service and endpoints"
	want := "default/a: " + exists + "; default/b: " + exists + "; default/c: " + exists + "; and others"
	if got := report(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	l.set(all[:3]...)
	if got, want := report(), "default/d: "+exists; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	l.set(all[3])
	if got := report(); got != "" {
		t.Errorf("after all were restored: %q", got)
	}
}

// TestHoldAtRandom plays an API with Services and slices. A Service that is programmed and lives
// never loses its slice, whatever happens to slices, and in the end the agent has what the API
// wants.
func TestHoldAtRandom(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 0))
		l := newLab(t)
		live := map[string]*v1alpha1.ServiceRuleSliceSpec{} // Services, as compiled
		inAPI := map[string]bool{}                          // slices
		safe := map[string]bool{}                           // programmed, and lives since
		var trace []string
		pick := func() (string, bool) {
			names := slices.Sorted(maps.Keys(live))
			if len(names) == 0 {
				return "", false
			}
			return names[r.IntN(len(names))], true
		}
		write := func(name string) { l.set(live[name]); inAPI[name], safe[name] = true, true }
		relist := func() {
			var all []*v1alpha1.ServiceRuleSliceSpec
			for name := range inAPI {
				if live[name] != nil {
					all = append(all, live[name])
				}
			}
			l.list(all...)
		}
		for range 60 {
			op := r.IntN(9)
			name, ok := pick()
			trace = append(trace, fmt.Sprint(op, name))
			switch {
			case op <= 1 || !ok:
				name = fmt.Sprintf("s%d", r.IntN(12))
				first := r.IntN(1000)
				live[name] = whole(name, first, first+r.IntN(60))
				write(name)
			case op == 2: // the controller deletes what is gone
				old := live[name]
				delete(live, name)
				delete(safe, name)
				if inAPI[name] {
					l.finish(old)
				}
				delete(inAPI, name)
			case op == 3: // it does not run
				delete(live, name)
				delete(safe, name)
			case op == 4: // kubectl
				if inAPI[name] {
					l.lose(live[name])
				}
				delete(inAPI, name)
			case op == 5: // the CRD
				clear(inAPI)
				relist()
			case op == 6:
				relist()
			case op == 7:
				l.clock.Step(time.Duration(r.IntN(12)) * time.Second)
			case op == 8:
				l.check(slices.Collect(maps.Values(live))...)
			}
			_, specs := l.store.Snapshot()
			for name := range safe {
				if specs["default."+name+"-v4-0"] == nil {
					t.Fatalf("seed %d: %s lives and has no rules after %v", seed, name, trace)
				}
			}
		}
		for name := range live {
			write(name)
		}
		relist()
		l.check(slices.Collect(maps.Values(live))...)
		_, specs := l.store.Snapshot()
		if diff := cmp.Diff(agenttest.Listed(slices.Collect(maps.Values(live))...), specs); diff != "" {
			t.Fatalf("seed %d after %v (-wanted +in effect):\n%s", seed, trace, diff)
		}
	}
}
