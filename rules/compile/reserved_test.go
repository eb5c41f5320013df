// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
)

// TestExternalIPs checks that no external IP is an address of the cluster itself, and that
// those which policies deny are reported.
func TestExternalIPs(t *testing.T) {
	machine := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: corev1.NodeSpec{PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24", "fd00:1::/64"}}}
	machine.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "a"}, {Type: corev1.NodeInternalIP, Address: "192.0.2.7"},
		{Type: corev1.NodeExternalIP, Address: "203.0.113.7"}, {Type: corev1.NodeInternalIP, Address: "2001:db8::7"}}
	old := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "old"}, Spec: corev1.NodeSpec{PodCIDR: "10.244.2.0/24"}}
	set := func(policy string, o v1alpha1.ExternalIPOptions) v1alpha1.NodeRuleSet {
		s := v1alpha1.NodeRuleSet{Spec: v1alpha1.NodeRuleSetSpec{ServiceCIDRs: []string{"10.96.0.0/12", "fd00:2::/112"}, ExternalIPs: o}}
		s.Spec.Policy.Name = policy
		return s
	}
	allow := v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow}
	some := v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow, AllowedCIDRs: []string{"198.51.100.0/25", "2001:db8:1::/48"}}
	apiServers := &discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}, {Addresses: []string{"2001:db8::1"}}}}
	const skipped, denied = "entry of spec.externalIPs skipped: ", " is not programmed on nodes of the ProxyConfig "
	cases := map[string]struct {
		sets     []v1alpha1.NodeRuleSet
		ip       string
		kept     bool
		problems string
	}{
		"outside":                     {nil, "198.51.100.1", true, ""},
		"internal IP of a node":       {nil, "192.0.2.7", false, skipped + "192.0.2.7 is an address of node a; use a node port or a load balancer"},
		"external IP of a node":       {nil, "203.0.113.7", false, skipped + "203.0.113.7 is an address of node a; use a node port or a load balancer"},
		"IPv6 of a node":              {nil, "2001:db8::7", false, skipped + "2001:db8::7 is an address of node a; use a node port or a load balancer"},
		"written in another way":      {nil, "2001:db8:0::0:7", false, skipped + "2001:db8::7 is an address of node a; use a node port or a load balancer"},
		"of a Pod":                    {nil, "10.244.1.9", false, skipped + "10.244.1.9 is in the Pod CIDR 10.244.1.0/24 of node a"},
		"of an IPv6 Pod":              {nil, "fd00:1::9", false, skipped + "fd00:1::9 is in the Pod CIDR fd00:1::/64 of node a"},
		"of a Pod of an old node":     {nil, "10.244.2.9", false, skipped + "10.244.2.9 is in the Pod CIDR 10.244.2.0/24 of node old"},
		"of the apiserver":            {nil, "192.0.2.1", false, skipped + "192.0.2.1 is an address of the apiserver"},
		"of the apiserver, IPv6":      {nil, "2001:db8::1", false, skipped + "2001:db8::1 is an address of the apiserver"},
		"cluster IP":                  {[]v1alpha1.NodeRuleSet{set("p", allow)}, "10.96.0.10", false, skipped + "10.96.0.10 is in the ServiceCIDR 10.96.0.0/12"},
		"IPv6 cluster IP":             {[]v1alpha1.NodeRuleSet{set("p", allow)}, "fd00:2::a", false, skipped + "fd00:2::a is in the ServiceCIDR fd00:2::/112"},
		"allowed":                     {[]v1alpha1.NodeRuleSet{set("p", allow)}, "198.51.100.1", true, ""},
		"denied":                      {[]v1alpha1.NodeRuleSet{set("p", v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPDeny})}, "198.51.100.1", true, "entry of spec.externalIPs: 198.51.100.1" + denied + "p, whose spec.externalIPs denies it"},
		"denied on some nodes":        {[]v1alpha1.NodeRuleSet{set("q", v1alpha1.ExternalIPOptions{}), set("p", allow), set("a", some)}, "198.51.100.128", true, "entry of spec.externalIPs: 198.51.100.128" + denied + "a, q, whose spec.externalIPs denies it"},
		"in an allowed range":         {[]v1alpha1.NodeRuleSet{set("p", some)}, "198.51.100.127", true, ""},
		"in an allowed range of IPv6": {[]v1alpha1.NodeRuleSet{set("p", some)}, "2001:db8:1::1", true, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := Service("web").IP("172.30.0.41").Port("http", 80).ExternalIPs(tc.ip)
			s.Spec.ClusterIPs = []string{"172.30.0.41", "fd00:9::41"}
			out := compile.Service(compile.Input{Service: s.Service, Cluster: compile.NewCluster([]corev1.Node{machine, old}, tc.sets, apiServers)})
			kept := false
			for _, slice := range out.Slices {
				kept = kept || len(slice.Spec.ExternalIPs) > 0
			}
			var problems string
			for _, p := range out.Problems {
				problems += p.Message
				if p.Object != "Service default/web" {
					t.Errorf("a problem of %s", p.Object)
				}
			}
			if kept != tc.kept {
				t.Errorf("kept: %v, want %v", kept, tc.kept)
			}
			if diff := cmp.Diff(tc.problems, problems); diff != "" {
				t.Error(diff)
			}
		})
	}
}
