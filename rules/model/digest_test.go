// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestDigest(t *testing.T) {
	spec := v1alpha1.ServiceRuleSliceSpec{ServiceName: "web", Part: 0, Parts: 1}
	base := model.Digest("default", "web-v4-0", spec)
	if len(base) != 16 {
		t.Errorf("digest %q", base)
	}
	spec.Digest = "0123456789abcdef"
	if got := model.Digest("default", "web-v4-0", spec); got != base {
		t.Errorf("depends on itself")
	}
	for name, other := range map[string]string{
		"namespace": model.Digest("other", "web-v4-0", spec),
		"name":      model.Digest("default", "web-v4-1", spec),
		"spec":      model.Digest("default", "web-v4-0", v1alpha1.ServiceRuleSliceSpec{ServiceName: "web", Part: 1, Parts: 1}),
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
			if diff := cmp.Diff(c.want, model.XORDigest(c.in...)); diff != "" {
				t.Errorf("digest (-want +got):\n%s", diff)
			}
		})
	}
	for _, odd := range []string{"", "xyz", "00000000000000ff0"} {
		if model.XORDigest(odd) == model.XORDigest() {
			t.Errorf("%q does not show", odd)
		}
	}
}
