// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestDigest(t *testing.T) {
	spec := v1alpha1.ServiceRuleSliceSpec{ServiceNamespace: "default", ServiceName: "web", Part: 0, Parts: 1}
	base := model.Digest(spec)
	if len(base) != 16 {
		t.Errorf("digest %q", base)
	}
	if base != "242dba26ea6e6b93" {
		t.Errorf("the digest is %s: an update of the controller writes the slices of all Services", base)
	}
	spec.Digest = "0123456789abcdef"
	if got := model.Digest(spec); got != base {
		t.Errorf("depends on itself")
	}
	for name, change := range map[string]func(*v1alpha1.ServiceRuleSliceSpec){
		"namespace": func(s *v1alpha1.ServiceRuleSliceSpec) { s.ServiceNamespace = "other" },
		"name":      func(s *v1alpha1.ServiceRuleSliceSpec) { s.ServiceName = "other" },
		"family":    func(s *v1alpha1.ServiceRuleSliceSpec) { s.AddressFamily = corev1.IPv6Protocol },
		"part":      func(s *v1alpha1.ServiceRuleSliceSpec) { s.Part = 1 },
		"content":   func(s *v1alpha1.ServiceRuleSliceSpec) { s.ClusterIP = "10.96.0.1" },
	} {
		other := spec
		change(&other)
		if model.Digest(other) == base {
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
			if diff := cmp.Diff(c.want, model.XORDigest(c.in...)); diff != "" {
				t.Errorf("digest (-want +got):\n%s", diff)
			}
		})
	}
	if got := model.DigestNumber("00000000000000ff"); got != 255 || model.FormatDigest(got) != "00000000000000ff" {
		t.Errorf("as a number it is %d", got)
	}
	seen := map[string]string{model.XORDigest(): "none"}
	for _, odd := range []string{"", "xyz", "xyy", "00000000000000ff0", "1ffffffffffffffff", "2ffffffffffffffff"} {
		got := model.XORDigest(odd)
		if same, ok := seen[got]; ok {
			t.Errorf("%q is like %q", odd, same)
		}
		seen[got] = odd
	}
}
