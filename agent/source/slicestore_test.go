// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

func TestCompactIsTheSame(t *testing.T) {
	cases := map[string]func(*v1alpha1.ServiceRuleSliceSpec){
		"as compiled":       func(*v1alpha1.ServiceRuleSliceSpec) {},
		"no endpoints":      func(s *v1alpha1.ServiceRuleSliceSpec) { s.Endpoints = nil },
		"more target ports": func(s *v1alpha1.ServiceRuleSliceSpec) { s.Endpoints[0].TargetPorts = []int32{1, 2, 3, 4, 5} },
		"no target ports":   func(s *v1alpha1.ServiceRuleSliceSpec) { s.Endpoints[1].TargetPorts = nil },
		"nodes and hints": func(s *v1alpha1.ServiceRuleSliceSpec) {
			s.Endpoints[1].NodeName, s.Endpoints[1].ForZones = "a", []string{"z"}
		},
		"ports without names": func(s *v1alpha1.ServiceRuleSliceSpec) { s.Ports = nil },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			spec := agenttest.Web("10.96.0.1", "10.1.0.1", "10.1.0.2", "10.1.0.3")
			change(spec)
			want := spec.DeepCopy()
			got := compact(spec)
			for i := range got.Endpoints {
				spec.Endpoints[i].Address = "changed"             // is not shared
				_ = append(got.Endpoints[i].TargetPorts, 99, 100) // does not reach the next
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSet checks which Services each change concerns, and that nothing stays of those that are gone.
func TestSet(t *testing.T) {
	const slice = "default.a-v4-0"
	a, b := whole("a", 1, 2), whole("b", 1, 2)
	for name, c := range map[string]struct {
		before, after *v1alpha1.ServiceRuleSliceSpec
		want          []string // the Services; nil: nothing changes
		parts         int      // Services with parts, in the end
	}{
		"nothing":            {nil, nil, nil, 0},
		"a new one":          {nil, a, []string{"a"}, 1},
		"the same":           {a, whole("a", 1, 2), nil, 1},
		"replaced":           {a, whole("a", 1, 3), []string{"a", "a"}, 1},
		"of another Service": {a, b, []string{"a", "b"}, 1},
		"deleted":            {a, nil, []string{"a"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSliceStore()
			s.set(slice, c.before)
			ids, changed := s.set(slice, c.after)
			var got []string
			for _, id := range ids {
				got = append(got, id.Name)
			}
			if diff := cmp.Diff(c.want, got); diff != "" || changed != (c.want != nil) {
				t.Errorf("changed: %v (-want +got):\n%s", changed, diff)
			}
			if len(s.parts) != c.parts || len(s.specs) != c.parts || s.usable != countUsable(c.after) {
				t.Errorf("%d Services with parts, %d slices, %d endpoints", len(s.parts), len(s.specs), s.usable)
			}
		})
	}
}

// TestSlicesComeWithoutMetadata checks that a list of all slices is not held with labels
// and managed fields, and that their origin is checked before.
func TestSlicesComeWithoutMetadata(t *testing.T) {
	web := agenttest.Web("10.96.0.1", "10.1.0.1")
	foreign := agenttest.Slice(web)
	foreign.ManagedFields = nil
	for name, tc := range map[string]struct {
		slice   *v1alpha1.ServiceRuleSlice
		refused string
	}{
		"written by the controller": {agenttest.Slice(web), ""},
		"foreign":                   {foreign, "fairlead-controller has not written its spec"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := (&sliceSink{}).Transformer()(tc.slice)
			if err != nil {
				t.Fatal(err)
			}
			r := got.(*receivedSlice)
			if diff := cmp.Diff(metav1.ObjectMeta{Name: agenttest.WebName}, r.ObjectMeta); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(web, r.spec); diff != "" {
				t.Error(diff)
			}
			if (r.refused == nil) != (tc.refused == "") || r.refused != nil && r.refused.Error() != tc.refused {
				t.Errorf("refused: %v, want %q", r.refused, tc.refused)
			}
			if again, err := received(got); again != r || err != nil {
				t.Errorf("transformed again: %v, %v", again, err)
			}
		})
	}
}
