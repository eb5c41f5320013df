// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// many adds n ready endpoints, 10.1.0.0 and up.
func many(s *sliceBuilder, n int) *sliceBuilder {
	for i := range n {
		s.ready(fmt.Sprintf("10.1.%d.%d", i/256, i%256), here)
	}
	return s
}

func TestPartCount(t *testing.T) {
	for name, c := range map[string]struct {
		endpoints int
		current   int32
		want      int32
	}{
		"none":                          {0, 0, 1},
		"few":                           {200, 0, 1},
		"above the limit":               {201, 0, 2},
		"at the limit of two":           {400, 0, 2},
		"a thousand":                    {1000, 0, 8},
		"a hundred thousand":            {100_000, 0, 512},
		"more than all parts hold":      {20_000_000, 0, 65536},
		"stays split at the limit":      {200, 2, 2},
		"stays split a little below":    {160, 2, 2},
		"merged well below":             {159, 2, 1},
		"merged twice":                  {300, 8, 2},
		"merged down to one":            {0, 1024, 1},
		"grows from what is there":      {401, 2, 4},
		"grows twice":                   {1601, 4, 16},
		"a number that is no power":     {1000, 3, 8},
		"a negative number":             {10, -2, 1},
		"a number above the maximum":    {10, 1 << 20, 1},
		"one where none would do":       {10, 1, 1},
		"not merged where it fills one": {80 * 4, 4, 4},
	} {
		t.Run(name, func(t *testing.T) {
			if got := partCount(c.endpoints, c.current); got != c.want {
				t.Errorf("got %d parts, want %d", got, c.want)
			}
		})
	}
}

// A number of parts that was chosen is kept while the endpoints do not change,
// whatever it was before: Compile does not flap.
func TestPartCountIsStable(t *testing.T) {
	for n := range 3000 {
		for current := int32(0); current <= 64; current++ {
			chosen := partCount(n, current)
			if again := partCount(n, chosen); again != chosen {
				t.Fatalf("%d endpoints: %d parts become %d, then %d", n, current, chosen, again)
			}
		}
	}
}

// The hash must spread the neighbouring addresses of a cluster over all parts.
func TestPartsAreBalanced(t *testing.T) {
	for name, format := range map[string]string{"IPv4": "10.1.%d.%d", "IPv6": "fd00:10::%x:%x"} {
		t.Run(name, func(t *testing.T) {
			const n, parts = 10_000, 64
			var count [parts]int
			for i := range n {
				count[partOf(fmt.Sprintf(format, i/256, i%256), parts)]++
			}
			if low, high := slices.Min(count[:]), slices.Max(count[:]); low < n/parts/2 || high > n/parts*2 {
				t.Errorf("between %d and %d endpoints in a part", low, high)
			}
		})
	}
}

func TestSplit(t *testing.T) {
	compiled := Compile(input(web(), many(webSlice(), 1000)))
	if len(compiled.Slices) != 8 {
		t.Fatalf("%d parts", len(compiled.Slices))
	}
	var addresses []string
	for i, s := range compiled.Slices {
		if s.Name != fmt.Sprintf("web-v4-%d", i) || s.Spec.Part != int32(i) || s.Spec.Parts != 8 {
			t.Errorf("slice %d: %s, part %d of %d", i, s.Name, s.Spec.Part, s.Spec.Parts)
		}
		if want := Digest("default", s.Name, s.Spec); s.Spec.Digest != want {
			t.Errorf("%s: digest %s, want %s", s.Name, s.Spec.Digest, want)
		}
		var own []string
		for _, e := range s.Spec.Endpoints {
			own = append(own, e.Address)
		}
		if !slices.IsSortedFunc(own, func(a, b string) int { return addr(a).Compare(addr(b)) }) {
			t.Errorf("%s: not sorted", s.Name)
		}
		addresses = append(addresses, own...)
	}
	slices.Sort(addresses)
	if len(slices.Compact(addresses)) != 1000 || len(addresses) != 1000 {
		t.Errorf("%d endpoints in all parts", len(addresses))
	}
}

// One endpoint more, less or changed rewrites exactly one part.
func TestOneEndpointChangesOnePart(t *testing.T) {
	base := many(webSlice(), 1000)
	without := many(webSlice(), 999)
	moved := many(webSlice(), 999).ready("10.1.3.231", there)
	unready := many(webSlice(), 999).unready("10.1.3.231", here)
	for name, c := range map[string]struct{ s *sliceBuilder }{
		"added":   {many(webSlice(), 1000).ready("10.9.9.9", here)},
		"removed": {without},
		"moved":   {moved},
		"unready": {unready},
	} {
		t.Run(name, func(t *testing.T) {
			if changed := changedParts(input(web(), base), input(web(), c.s)); changed != 1 {
				t.Errorf("%d parts changed", changed)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		if changed := changedParts(input(web(), base), input(web(), many(webSlice(), 1000))); changed != 0 {
			t.Errorf("%d parts changed", changed)
		}
	})
}

func changedParts(a, b CompileInput) int {
	before := Compile(a).Slices
	b.Parts = map[corev1.IPFamily]int32{corev1.IPv4Protocol: int32(len(before))}
	digests := map[string]string{}
	for _, s := range before {
		digests[s.Name] = s.Spec.Digest
	}
	changed := 0
	for _, s := range Compile(b).Slices {
		if digests[s.Name] != s.Spec.Digest {
			changed++
		}
		delete(digests, s.Name)
	}
	return changed + len(digests)
}

// While the number of parts changes, a node sees old and new parts together.
// Written in the right order (the last part first when there will be more, the
// first one first when there will be fewer, then deletions), every endpoint
// stays reachable at every step.
func TestRepartitionKeepsEndpointsReachable(t *testing.T) {
	for name, c := range map[string]struct{ from, to int32 }{
		"one to two":   {1, 2},
		"four to 16":   {4, 16},
		"two to one":   {2, 1},
		"16 to four":   {16, 4},
		"eight, again": {8, 8},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(web(), many(webSlice(), 640))
			header := *specs(Compile(CompileInput{Service: in.Service}), corev1.IPv4Protocol)[0]
			endpoints := compileEndpoints(in, &header, &problemList{})
			parts := func(n int32) map[int32]*v1alpha1.ServiceRuleSliceSpec {
				out := map[int32]*v1alpha1.ServiceRuleSliceSpec{}
				for i := range n {
					spec := header
					spec.Part, spec.Parts = i, n
					out[i] = &spec
				}
				for _, e := range endpoints {
					out[partOf(e.Address, n)].Endpoints = append(out[partOf(e.Address, n)].Endpoints, e)
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
	resolved, err := Resolve(thisNode().Node, ServiceID{"default", "web", corev1.IPv4Protocol}, parts)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(resolved.Frontends[0].Internal.Endpoints); got != want {
		t.Errorf("%d of %d endpoints reachable with %d parts", got, want, len(parts))
	}
}

func TestSliceName(t *testing.T) {
	for want, got := range map[string]string{
		"web-v4-0":      SliceName("web", corev1.IPv4Protocol, 0),
		"web-v6-17":     SliceName("web", corev1.IPv6Protocol, 17),
		"web-v4-0-v4-0": SliceName("web-v4-0", corev1.IPv4Protocol, 0),
		"ip-v6-0":       SliceName("ip", corev1.IPv6Protocol, 0),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestDigest(t *testing.T) {
	spec := v1alpha1.ServiceRuleSliceSpec{ServiceName: "web", Part: 0, Parts: 1}
	base := Digest("default", "web-v4-0", spec)
	if len(base) != 16 {
		t.Errorf("digest %q", base)
	}
	spec.Digest = "0123456789abcdef"
	if got := Digest("default", "web-v4-0", spec); got != base {
		t.Errorf("depends on itself")
	}
	for name, other := range map[string]string{
		"namespace": Digest("other", "web-v4-0", spec),
		"name":      Digest("default", "web-v4-1", spec),
		"spec":      Digest("default", "web-v4-0", v1alpha1.ServiceRuleSliceSpec{ServiceName: "web", Part: 1, Parts: 1}),
	} {
		if other == base {
			t.Errorf("does not depend on the %s", name)
		}
	}
}

func TestXORDigest(t *testing.T) {
	a, b := "00000000000000ff", "f00000000000000f"
	for name, c := range map[string]struct {
		in   []string
		want string
	}{
		"none":         {nil, "0000000000000000"},
		"one":          {[]string{a}, a},
		"two":          {[]string{a, b}, "f0000000000000f0"},
		"other order":  {[]string{b, a}, "f0000000000000f0"},
		"taken away":   {[]string{a, b, a}, b},
		"none, halves": {[]string{a, a}, "0000000000000000"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, XORDigest(c.in...)); diff != "" {
				t.Errorf("digest (-want +got):\n%s", diff)
			}
		})
	}
	for _, odd := range []string{"", "xyz", "00000000000000ff0"} {
		if XORDigest(odd) == XORDigest() {
			t.Errorf("%q does not show", odd)
		}
	}
}
