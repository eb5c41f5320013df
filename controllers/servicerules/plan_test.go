// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

var web = &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u"}}

// inAPI returns compiled slices as objects in the API, as the controller has written them.
func inAPI(compiled ...compile.Slice) []*v1alpha1.ServiceRuleSlice {
	var out []*v1alpha1.ServiceRuleSlice
	for _, c := range compiled {
		out = append(out, &v1alpha1.ServiceRuleSlice{
			ObjectMeta: metav1.ObjectMeta{Name: c.Name,
				Labels:      model.SliceLabels(model.ServiceOf(&c.Spec)),
				Annotations: map[string]string{v1alpha1.AnnotationServiceUID: "u"},
				ManagedFields: []metav1.ManagedFieldsEntry{{Manager: string(ssa.FieldOwner), Operation: metav1.ManagedFieldsOperationApply,
					APIVersion: v1alpha1.GroupVersion.String(), FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}}},
			Spec: c.Spec,
		})
	}
	return out
}

// compiled returns a slice whose endpoints are the given ones: "a" is ready,
// "a!" is terminating.
func compiled(family corev1.IPFamily, endpoints ...string) compile.Slice {
	spec := v1alpha1.ServiceRuleSliceSpec{ServiceNamespace: "default", ServiceName: "web", AddressFamily: family, Parts: 1, ClusterIP: "vip"}
	for _, e := range endpoints {
		ep := v1alpha1.RuleEndpoint{Address: e[:1], TargetPorts: []int32{80}}
		if len(e) > 1 {
			ep.State = v1alpha1.EndpointTerminating
		}
		spec.Endpoints = append(spec.Endpoints, ep)
	}
	spec.Digest = fmt.Sprint(endpoints)
	return compile.Slice{Name: model.SliceName(model.ServiceOf(&spec), 0), Spec: spec}
}

func TestUrgency(t *testing.T) {
	v4, v6 := corev1.IPv4Protocol, corev1.IPv6Protocol
	otherVIP := compiled(v4, "a")
	otherVIP.Spec.ClusterIP = "other"
	otherPort := compiled(v4, "a")
	otherPort.Spec.Endpoints[0].TargetPorts = []int32{81}
	cases := map[string]struct {
		current, wanted []compile.Slice
		urgent          bool
	}{
		"first":            {nil, []compile.Slice{compiled(v4, "a")}, true},
		"addition":         {[]compile.Slice{compiled(v4, "a")}, []compile.Slice{compiled(v4, "a", "b")}, false},
		"removal":          {[]compile.Slice{compiled(v4, "a", "b")}, []compile.Slice{compiled(v4, "a")}, true},
		"replacement":      {[]compile.Slice{compiled(v4, "a")}, []compile.Slice{compiled(v4, "b", "c")}, true},
		"terminating":      {[]compile.Slice{compiled(v4, "a")}, []compile.Slice{compiled(v4, "a!")}, true},
		"other address":    {[]compile.Slice{compiled(v4, "a")}, []compile.Slice{otherVIP}, true},
		"other port":       {[]compile.Slice{compiled(v4, "a")}, []compile.Slice{otherPort}, true},
		"family added":     {[]compile.Slice{compiled(v4, "a")}, []compile.Slice{compiled(v4, "a"), compiled(v6, "b")}, true},
		"family removed":   {[]compile.Slice{compiled(v4, "a"), compiled(v6, "b")}, []compile.Slice{compiled(v4, "a")}, true},
		"first endpoint":   {[]compile.Slice{compiled(v4)}, []compile.Slice{compiled(v4, "a")}, false},
		"service is gone":  {[]compile.Slice{compiled(v4)}, nil, true},
		"nothing changed":  {[]compile.Slice{compiled(v4, "a")}, []compile.Slice{compiled(v4, "a")}, false},
		"only the digest":  {[]compile.Slice{{Name: "default.web-v4-0", Spec: header(compiled(v4).Spec)}}, []compile.Slice{compiled(v4)}, false},
		"second family up": {[]compile.Slice{compiled(v4, "a"), compiled(v6, "b")}, []compile.Slice{compiled(v4, "a"), compiled(v6, "b", "c")}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := makePlan(web, inAPI(tc.current...), tc.wanted)
			if p.urgent != tc.urgent {
				t.Errorf("urgent: got %v, want %v", p.urgent, tc.urgent)
			}
			if name == "nothing changed" && !p.empty() {
				t.Errorf("got %v, want nothing to do", p)
			}
		})
	}
}

// TestForeignSlicesArePlanned checks that nothing but what is wanted stays, whichever client has made
// it, and that a wanted slice is written again unless the controller has written it.
func TestForeignSlicesArePlanned(t *testing.T) {
	wanted := compiled(corev1.IPv4Protocol, "a")
	type slice = v1alpha1.ServiceRuleSlice
	type plan struct{ Writes, Deletes, Foreign []string }
	cases := map[string]struct {
		change func(*slice) // of the one in the API
		gone   bool         // the Service
		want   plan
	}{
		"as written":         {func(*slice) {}, false, plan{}},
		"without labels":     {func(s *slice) { s.Labels = nil }, false, plan{Writes: []string{"default.web-v4-0"}, Foreign: []string{"default.web-v4-0"}}},
		"of another writer":  {func(s *slice) { s.ManagedFields = nil }, false, plan{Writes: []string{"default.web-v4-0"}, Foreign: []string{"default.web-v4-0"}}},
		"of another Service": {func(s *slice) { s.Annotations = nil }, false, plan{Writes: []string{"default.web-v4-0"}}},
		"with another name": {func(s *slice) { s.Name = "theirs" }, false,
			plan{Writes: []string{"default.web-v4-0"}, Deletes: []string{"theirs"}, Foreign: []string{"theirs"}}},
		"with another name, without labels": {func(s *slice) { s.Name, s.Labels = "theirs", nil }, false,
			plan{Writes: []string{"default.web-v4-0"}, Deletes: []string{"theirs"}, Foreign: []string{"theirs"}}},
		"a part too many": {func(s *slice) { s.Name, s.Spec.Part = "default.web-v4-1", 1 }, false,
			plan{Writes: []string{"default.web-v4-0"}, Deletes: []string{"default.web-v4-1"}}},
		"the Service is gone": {func(*slice) {}, true, plan{Deletes: []string{"default.web-v4-0"}}},
		"the Service never was": {func(s *slice) { s.Labels, s.ManagedFields = nil, nil }, true,
			plan{Deletes: []string{"default.web-v4-0"}, Foreign: []string{"default.web-v4-0"}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			current := inAPI(wanted)
			tc.change(current[0])
			p := makePlan(web, current, []compile.Slice{wanted})
			if tc.gone {
				p = makePlan(nil, current, nil)
			}
			var got plan
			for _, w := range p.writes {
				got.Writes = append(got.Writes, w.Name)
			}
			for _, d := range p.deletes {
				got.Deletes = append(got.Deletes, d.Name)
			}
			got.Foreign = slices.Sorted(maps.Keys(p.foreign))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSafeOrder moves random endpoints between random numbers of parts and
// checks after every write that no remaining endpoint is missing.
func TestSafeOrder(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	// The part of an endpoint halves with each doubling, as in compile.Service.
	parts := func(n int, have sets.Set[int]) []compile.Slice {
		out := make([]compile.Slice, n)
		for i := range out {
			out[i] = compile.Slice{Name: fmt.Sprintf("web-v4-%d", i),
				Spec: v1alpha1.ServiceRuleSliceSpec{AddressFamily: corev1.IPv4Protocol, Part: int32(i), Parts: int32(n)}}
		}
		for e := range have {
			spec := &out[e*n/64].Spec
			spec.Endpoints = append(spec.Endpoints, v1alpha1.RuleEndpoint{Address: fmt.Sprint(e)})
		}
		return out
	}
	for range 200 {
		before, after := sets.Set[int]{}, sets.Set[int]{}
		for e := range 64 {
			if random.IntN(2) == 0 {
				before.Insert(e)
			}
			if random.IntN(2) == 0 {
				after.Insert(e)
			}
		}
		current, wanted := parts(1<<random.IntN(6), before), parts(1<<random.IntN(6), after)
		p := makePlan(web, inAPI(current...), wanted)
		state := map[string]sets.Set[string]{}
		for _, c := range current {
			state[c.Name] = addresses(c.Spec)
		}
		for i, w := range p.writes {
			state[w.Name] = addresses(w.Spec)
			for e := range before.Intersection(after) {
				found := false
				for _, s := range state {
					found = found || s.Has(fmt.Sprint(e))
				}
				if !found {
					t.Fatalf("seed %d: from %d to %d parts, after write %d (%s): endpoint %d is missing",
						seed, len(current), len(wanted), i, w.Name, e)
				}
			}
		}
		if extra := len(current) - len(wanted); extra > 0 && len(p.deletes) != extra {
			t.Fatalf("seed %d: got %d deletes, want %d", seed, len(p.deletes), extra)
		}
	}
}

// TestOrderOfSwappedParts checks that an impossible order terminates.
func TestOrderOfSwappedParts(t *testing.T) {
	part := func(name, address string) compile.Slice {
		return compile.Slice{Name: name, Spec: v1alpha1.ServiceRuleSliceSpec{
			Parts: 2, Endpoints: []v1alpha1.RuleEndpoint{{Address: address}}}}
	}
	p := makePlan(web, inAPI(part("x", "a"), part("y", "b")), []compile.Slice{part("x", "b"), part("y", "a")})
	if len(p.writes) != 2 {
		t.Errorf("got %d writes, want 2", len(p.writes))
	}
}

func addresses(spec v1alpha1.ServiceRuleSliceSpec) sets.Set[string] {
	s := make(sets.Set[string], len(spec.Endpoints))
	for _, e := range spec.Endpoints {
		s.Insert(e.Address)
	}
	return s
}
