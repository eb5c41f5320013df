// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
)

func serviceCIDR(name string, cidrs ...string) networkingv1.ServiceCIDR {
	return networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
}

// TestCompileServiceCIDRs checks which ServiceCIDRs a NodeRuleSet gets.
func TestCompileServiceCIDRs(t *testing.T) {
	going := serviceCIDR("going", "10.97.0.0/16")
	now := metav1.Now()
	going.DeletionTimestamp = &now
	many := make([]networkingv1.ServiceCIDR, 0, 70)
	for i := range 70 {
		many = append(many, serviceCIDR(fmt.Sprint(i), fmt.Sprintf("10.96.%d.0/24", 2*i)))
	}
	for name, c := range map[string]struct {
		objects  []networkingv1.ServiceCIDR
		want     string
		problems []compile.Problem
	}{
		"none": {nil, "", nil},
		"dual stack, and sorted": {[]networkingv1.ServiceCIDR{serviceCIDR("b", "fd00:96::/108", "172.30.0.0/16"), serviceCIDR("a", "10.96.0.0/16")},
			"10.96.0.0/16 172.30.0.0/16 fd00:96::/108", nil},
		"canonical":          {[]networkingv1.ServiceCIDR{serviceCIDR("a", "10.096.0.1/16", "FD00:0096::/108")}, "10.96.0.0/16 fd00:96::/108", nil},
		"one in another":     {[]networkingv1.ServiceCIDR{serviceCIDR("a", "10.96.8.0/24"), serviceCIDR("b", "10.96.0.0/16"), serviceCIDR("c", "10.96.0.0/24", "10.97.0.0/16")}, "10.96.0.0/16 10.97.0.0/16", nil},
		"some in the second": {[]networkingv1.ServiceCIDR{serviceCIDR("a", "10.96.0.0/16", "10.97.0.0/16", "10.97.8.0/24", "10.97.9.0/24")}, "10.96.0.0/16 10.97.0.0/16", nil},
		"two in another":     {[]networkingv1.ServiceCIDR{serviceCIDR("a", "10.96.8.0/24", "10.96.9.0/24", "10.96.0.0/16")}, "10.96.0.0/16", nil},
		"the same twice":     {[]networkingv1.ServiceCIDR{serviceCIDR("a", "10.96.0.0/16"), serviceCIDR("b", "10.96.0.0/16")}, "10.96.0.0/16", nil},
		"one being deleted":  {[]networkingv1.ServiceCIDR{going}, "10.97.0.0/16", nil},
		"malformed": {[]networkingv1.ServiceCIDR{serviceCIDR("a", "10.96.0.0", "10.97.0.0/16")}, "10.97.0.0/16",
			[]compile.Problem{{Object: "ServiceCIDR a", Message: `range skipped: "10.96.0.0" is not a CIDR`}}},
	} {
		t.Run(name, func(t *testing.T) {
			spec, problems := compile.Node(compile.NodeInput{Node: &corev1.Node{}, Config: &v1alpha1.ProxyConfig{}, ServiceCIDRs: c.objects})
			if got := strings.Join(spec.ServiceCIDRs, " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if diff := cmp.Diff(c.problems, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("more than a NodeRuleSet can hold", func(t *testing.T) {
		spec, problems := compile.Node(compile.NodeInput{Node: &corev1.Node{}, Config: &v1alpha1.ProxyConfig{}, ServiceCIDRs: many})
		if len(spec.ServiceCIDRs) != compile.MaxServiceCIDRs || len(problems) != 1 || problems[0].Message != "6 ranges skipped: there are more than 64" {
			t.Errorf("got %d ranges, %v", len(spec.ServiceCIDRs), problems)
		}
		spec, problems = compile.Node(compile.NodeInput{Node: &corev1.Node{}, Config: &v1alpha1.ProxyConfig{}, ServiceCIDRs: many[:compile.MaxServiceCIDRs]})
		if len(spec.ServiceCIDRs) != compile.MaxServiceCIDRs || len(problems) != 0 {
			t.Errorf("as many: got %d ranges, %v", len(spec.ServiceCIDRs), problems)
		}
	})
}
