// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestCapabilities checks that the API accepts the capabilities that agents report,
// within its limits, and shows them.
func TestCapabilities(t *testing.T) {
	n := newNodes(t)
	create(t, node("n1"), policy("default", "n1", 0))
	n.wantWrites("n1", "apply n1")
	ipvs := func(change func(*v1alpha1.ModeCapability)) []v1alpha1.ModeCapability {
		c := v1alpha1.ModeCapability{Mode: v1alpha1.ModeIPVS, Supported: true, Schedulers: []string{"rr", "sh"}}
		change(&c)
		return []v1alpha1.ModeCapability{c, {Mode: v1alpha1.ModeNFTables, Supported: true}}
	}
	cases := map[string]struct {
		reported []v1alpha1.ModeCapability
		refused  string
	}{
		"all supported": {ipvs(func(*v1alpha1.ModeCapability) {}), ""},
		"something missing": {ipvs(func(c *v1alpha1.ModeCapability) {
			*c = v1alpha1.ModeCapability{Mode: v1alpha1.ModeIPVS, Message: "this kernel has no IPVS (module ip_vs)"}
		}), ""},
		"a mode twice": {ipvs(func(c *v1alpha1.ModeCapability) { c.Mode = v1alpha1.ModeNFTables }), "Duplicate value"},
		"no mode":      {ipvs(func(c *v1alpha1.ModeCapability) { c.Mode = "Magic" }), "Unsupported value"},
		"a long message": {ipvs(func(c *v1alpha1.ModeCapability) {
			c.Message = strings.Repeat("x", 257)
		}), "Too long"},
		"many schedulers": {ipvs(func(c *v1alpha1.ModeCapability) {
			c.Schedulers = slices.Repeat([]string{"rr"}, 33)
		}), "Too many"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			set := ruleSet(t, "n1")
			set.Status.Capabilities = tc.reported
			err := api.Status().Update(t.Context(), set)
			if tc.refused != "" {
				if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tc.refused) {
					t.Errorf("got %v, want %q", err, tc.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.reported, ruleSet(t, "n1").Status.Capabilities); diff != "" {
				t.Errorf("the API shows something else (-reported +shown):\n%s", diff)
			}
		})
	}

	set := ruleSet(t, "n1")
	set.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDegraded, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonFallbackMode, LastTransitionTime: metav1.Now()}}
	if err := api.Status().Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	if got := kubectl(t, "get", "noderulesets", "-o", "wide"); !strings.Contains(got, "HEALTH") || !strings.Contains(got, "FallbackMode") {
		t.Errorf("the columns do not show the fallback mode:\n%s", got)
	}
}
