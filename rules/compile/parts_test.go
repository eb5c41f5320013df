// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

func TestSplit(t *testing.T) {
	compiled := compile.Service(Input(Web(), Many(WebSlice(), 1000)))
	if len(compiled.Slices) != 8 {
		t.Fatalf("%d parts", len(compiled.Slices))
	}
	var addresses []string
	for i, s := range compiled.Slices {
		if s.Name != fmt.Sprintf("default.web-v4-%d", i) || s.Spec.Part != int32(i) || s.Spec.Parts != 8 {
			t.Errorf("slice %d: %s, part %d of %d", i, s.Name, s.Spec.Part, s.Spec.Parts)
		}
		if want := model.Digest(s.Spec); s.Spec.Digest != want {
			t.Errorf("%s: digest %s, want %s", s.Name, s.Spec.Digest, want)
		}
		var own []string
		for _, e := range s.Spec.Endpoints {
			own = append(own, e.Address)
		}
		if !slices.IsSortedFunc(own, func(a, b string) int { return Addr(a).Compare(Addr(b)) }) {
			t.Errorf("%s: not sorted", s.Name)
		}
		addresses = append(addresses, own...)
	}
	slices.Sort(addresses)
	if len(slices.Compact(addresses)) != 1000 || len(addresses) != 1000 {
		t.Errorf("%d endpoints in all parts", len(addresses))
	}
}

// Adding, removing or changing one endpoint rewrites exactly one part.
func TestOneEndpointChangesOnePart(t *testing.T) {
	base := Many(WebSlice(), 1000)
	without := Many(WebSlice(), 999)
	moved := Many(WebSlice(), 999).Ready("10.1.3.231", There)
	unready := Many(WebSlice(), 999).Unready("10.1.3.231", Here)
	for name, c := range map[string]struct{ s *SliceBuilder }{
		"added":   {Many(WebSlice(), 1000).Ready("10.9.9.9", Here)},
		"removed": {without},
		"moved":   {moved},
		"unready": {unready},
	} {
		t.Run(name, func(t *testing.T) {
			if changed := changedParts(Input(Web(), base), Input(Web(), c.s)); changed != 1 {
				t.Errorf("%d parts changed", changed)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		if changed := changedParts(Input(Web(), base), Input(Web(), Many(WebSlice(), 1000))); changed != 0 {
			t.Errorf("%d parts changed", changed)
		}
	})
}

func changedParts(a, b compile.Input) int {
	before := compile.Service(a).Slices
	b.Parts = map[corev1.IPFamily]int32{corev1.IPv4Protocol: int32(len(before))}
	digests := map[string]string{}
	for _, s := range before {
		digests[s.Name] = s.Spec.Digest
	}
	changed := 0
	for _, s := range compile.Service(b).Slices {
		if digests[s.Name] != s.Spec.Digest {
			changed++
		}
		delete(digests, s.Name)
	}
	return changed + len(digests)
}

// While the number of parts changes, a node sees old and new parts together. In the right
// order (the last part first when the number grows, the first part first when it shrinks,
// then deletions) every endpoint stays reachable at every step.
func TestRepartitionKeepsEndpointsReachable(t *testing.T) {
	for name, c := range map[string]struct{ from, to int32 }{
		"one to two":   {1, 2},
		"four to 16":   {4, 16},
		"two to one":   {2, 1},
		"16 to four":   {16, 4},
		"eight, again": {8, 8},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input(Web(), Many(WebSlice(), 640))
			parts := func(n int32) map[int32]*v1alpha1.ServiceRuleSliceSpec {
				out := map[int32]*v1alpha1.ServiceRuleSliceSpec{}
				for i, spec := range compile.Parts(in, n) {
					out[int32(i)] = &spec
				}
				return out
			}
			stored, wanted := parts(c.from), parts(c.to)
			for step := range c.to {
				i := step
				if c.to > c.from {
					i = c.to - 1 - step
				}
				stored[i] = wanted[i]
				checkAll(t, stored, 640)
			}
			for i := c.to; i < c.from; i++ {
				delete(stored, i)
				checkAll(t, stored, 640)
			}
		})
	}
}

func checkAll(t *testing.T, stored map[int32]*v1alpha1.ServiceRuleSliceSpec, want int) {
	t.Helper()
	var parts []*v1alpha1.ServiceRuleSliceSpec
	for _, s := range stored {
		parts = append(parts, s)
	}
	resolved, err := resolve.Service(ThisNode().Node, model.ServiceID{Namespace: "default", Name: "web", Family: corev1.IPv4Protocol}, parts)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(resolved.Frontends[0].Internal.Endpoints); got != want {
		t.Errorf("%d of %d endpoints reachable with %d parts", got, want, len(parts))
	}
}

// TestPartsNow checks that the number of parts depends on how many the API holds now.
func TestPartsNow(t *testing.T) {
	for name, tc := range map[string]struct {
		endpoints int
		now       int32
		want      int
	}{
		"none, up to the limit":    {200, 0, 1},
		"none, above the limit":    {201, 0, 2},
		"two, below the limit":     {170, 2, 2},
		"two, of the other family": {170, -2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input(Web(), Many(WebSlice(), tc.endpoints))
			in.Parts = map[corev1.IPFamily]int32{corev1.IPv4Protocol: tc.now}
			if tc.now < 0 {
				in.Parts = map[corev1.IPFamily]int32{corev1.IPv6Protocol: -tc.now}
			}
			if got := len(compile.Service(in).Slices); got != tc.want {
				t.Errorf("%d parts, want %d", got, tc.want)
			}
		})
	}
}
