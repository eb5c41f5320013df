// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
)

// config returns a ProxyConfig that was created some hours after the first.
func config(name string, priority *int32, hours int, selector *v1alpha1.NodeSelector) v1alpha1.ProxyConfig {
	created := time.Date(2026, 1, 1, hours, 0, 0, 0, time.UTC)
	return v1alpha1.ProxyConfig{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(created)},
		Spec:       v1alpha1.ProxyConfigSpec{Priority: priority, NodeSelector: selector},
	}
}

func TestSelectConfig(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: Here, Labels: map[string]string{"pool": "gpu"}}}
	gpu := &v1alpha1.NodeSelector{MatchLabels: map[string]v1alpha1.LabelValue{"pool": "gpu"}}
	cpu := &v1alpha1.NodeSelector{MatchLabels: map[string]v1alpha1.LabelValue{"pool": "cpu"}}
	odd := &v1alpha1.NodeSelector{MatchExpressions: []v1alpha1.NodeSelectorRequirement{{Key: "pool", Operator: "Like"}}}
	num := func(n int32) *int32 { return &n }
	for name, c := range map[string]struct {
		configs []v1alpha1.ProxyConfig
		want    string // winner and losers
		err     string
	}{
		"none":                      {nil, "", ""},
		"one for all nodes":         {[]v1alpha1.ProxyConfig{config("a", nil, 0, nil)}, "a", ""},
		"empty selector":            {[]v1alpha1.ProxyConfig{config("a", nil, 0, &v1alpha1.NodeSelector{})}, "a", ""},
		"not selected":              {[]v1alpha1.ProxyConfig{config("a", nil, 0, cpu)}, "", ""},
		"highest priority":          {[]v1alpha1.ProxyConfig{config("a", num(1), 0, nil), config("b", num(2), 1, gpu)}, "b a", ""},
		"priority of others":        {[]v1alpha1.ProxyConfig{config("a", num(1), 0, nil), config("b", num(2), 1, cpu)}, "a", ""},
		"absent priority is 0":      {[]v1alpha1.ProxyConfig{config("a", num(-1), 0, nil), config("b", nil, 1, nil)}, "b a", ""},
		"oldest":                    {[]v1alpha1.ProxyConfig{config("a", num(1), 2, nil), config("b", num(1), 1, nil)}, "b a", ""},
		"first name":                {[]v1alpha1.ProxyConfig{config("c", nil, 1, nil), config("b", nil, 1, nil), config("a", num(-5), 0, nil)}, "b c a", ""},
		"invalid selects nothing":   {[]v1alpha1.ProxyConfig{config("a", num(9), 0, odd), config("b", nil, 1, nil)}, "b", "ProxyConfig a: spec.nodeSelector is invalid"},
		"first name, as listed":     {[]v1alpha1.ProxyConfig{config("b", nil, 1, nil), config("c", nil, 1, nil)}, "b c", ""},
		"two are invalid":           {[]v1alpha1.ProxyConfig{config("a", nil, 0, odd), config("b", nil, 1, odd)}, "", "ProxyConfig a: spec.nodeSelector is invalid"},
		"invalid one and only":      {[]v1alpha1.ProxyConfig{config("a", num(9), 0, odd)}, "", "ProxyConfig a: spec.nodeSelector is invalid"},
		"selectors are not a merit": {[]v1alpha1.ProxyConfig{config("a", nil, 0, nil), config("b", nil, 1, gpu)}, "a b", ""},
	} {
		t.Run(name, func(t *testing.T) {
			winner, losers, err := compile.SelectConfig(node, c.configs)
			var got []string
			if winner != nil {
				got = append(got, winner.Name)
			}
			for _, l := range losers {
				got = append(got, l.Name)
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

func TestCompileNode(t *testing.T) {
	yes := true
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: Here, Labels: map[string]string{corev1.LabelTopologyZone: "a"}},
		Spec:       corev1.NodeSpec{PodCIDR: "10.1.0.0/24", PodCIDRs: []string{"10.01.0.9/24", "FD00:10::/64", "bad"}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: "10.7.7.7"},
			{Type: corev1.NodeExternalIP, Address: "203.0.113.9"},
			{Type: corev1.NodeInternalIP, Address: "192.168.000.002"},
			{Type: corev1.NodeInternalIP, Address: "2001:DB8::2"},
			{Type: corev1.NodeInternalIP, Address: "2001:db8:0::2"},
			{Type: corev1.NodeInternalIP, Address: "192.168.0.2"},
			{Type: corev1.NodeInternalIP, Address: "host"},
		}},
	}
	policy := config("default", nil, 0, nil)
	policy.Generation = 3
	policy.Spec.Mode, policy.Spec.FallbackModes = v1alpha1.ModeIPVS, []v1alpha1.ProxyMode{v1alpha1.ModeNFTables}
	policy.Spec.IPVS = &v1alpha1.IPVSOptions{Scheduler: "mh"}
	policy.Spec.SessionAffinity = v1alpha1.SessionAffinityOptions{Policy: v1alpha1.AffinityClientIP, TimeoutSeconds: 9}
	policy.Spec.NodePort.Addresses = []string{"All"}
	policy.Spec.ExternalIPs = v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow, AllowedCIDRs: []string{"198.51.100.0/24"}}
	policy.Spec.Masquerade.All = &yes
	policy.Spec.LocalTraffic.Detect = v1alpha1.DetectNodeCIDR
	policy.Spec.Conntrack = &v1alpha1.ConntrackOptions{TCPBeLiberal: &yes}
	policy.Spec.MassRemoval = v1alpha1.MassRemovalOptions{MaxPercent: 25, MinEndpoints: 7, WindowSeconds: 60}
	policy.Spec.DeletionPolicy = v1alpha1.DeletionCleanup
	policy.Spec.KubeProxy = &v1alpha1.KubeProxyOptions{TakeOver: &yes}
	want := v1alpha1.NodeRuleSetSpec{
		Policy:   v1alpha1.PolicyReference{Name: "default", Generation: 3},
		Revision: "default-1",
		Mode:     v1alpha1.ModeIPVS, FallbackModes: []v1alpha1.ProxyMode{v1alpha1.ModeNFTables},
		Node: v1alpha1.NodeFacts{
			Zone: "a", Addresses: []string{"192.168.0.2", "2001:db8::2", "203.0.113.9"}, PodCIDRs: []string{"10.1.0.0/24", "fd00:10::/64"},
		},
		IPVS:            &v1alpha1.IPVSOptions{Scheduler: "mh"},
		SessionAffinity: policy.Spec.SessionAffinity, NodePort: policy.Spec.NodePort, Masquerade: policy.Spec.Masquerade,
		ExternalIPs:  policy.Spec.ExternalIPs,
		LocalTraffic: policy.Spec.LocalTraffic, Conntrack: &v1alpha1.ConntrackOptions{TCPBeLiberal: &yes},
		KubeProxy:   v1alpha1.KubeProxyTakeOver,
		MassRemoval: policy.Spec.MassRemoval, DeletionPolicy: v1alpha1.DeletionCleanup,
	}
	got, problems := compile.Node(compile.NodeInput{Node: node, Config: &policy, Revision: "default-1"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	wantProblems := []compile.Problem{
		{Object: "Node test-node", Message: `Pod CIDR skipped: "bad" is not a CIDR`},
		{Object: "Node test-node", Message: `address skipped: "host" is not an IP address`},
	}
	if diff := cmp.Diff(wantProblems, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}

	// The result shares nothing with the policy.
	got.NodePort.Addresses[0], got.IPVS.Scheduler = "Primary", "rr"
	if policy.Spec.NodePort.Addresses[0] != "All" || policy.Spec.IPVS.Scheduler != "mh" {
		t.Error("the policy was changed through the result")
	}

	// What is not on trial has no checks, and no deadline.
	policy.Spec.Rollout.NodeDeadlineSeconds = new(int32(30))
	checks := []v1alpha1.RolloutCheck{{Name: "dns"}}
	for _, assigned := range []*metav1.Time{nil, {Time: time.Unix(1, 0)}} {
		got, _ := compile.Node(compile.NodeInput{Node: node, Config: &policy, AssignedTime: assigned, Checks: checks})
		if onTrial := assigned != nil; (got.Checks != nil) != onTrial || (got.NodeDeadlineSeconds != nil) != onTrial || got.AssignedTime != assigned {
			t.Errorf("assigned at %v: %+v", assigned, got)
		}
	}

	old := node.DeepCopy()
	old.Spec.PodCIDRs = nil
	got, _ = compile.Node(compile.NodeInput{Node: old, Config: &policy})
	if diff := cmp.Diff([]string{"10.1.0.0/24"}, got.Node.PodCIDRs); diff != "" {
		t.Errorf("Pod CIDRs of an old Node (-want +got):\n%s", diff)
	}
}

func TestIsDeparting(t *testing.T) {
	now := metav1.Now()
	cases := map[string]struct {
		node corev1.Node
		want bool
	}{
		"an ordinary node":    {corev1.Node{}, false},
		"H4 tainted to go":    {corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: compile.TaintToBeDeleted, Effect: corev1.TaintEffectNoSchedule}}}}, true},
		"tainted otherwise":   {corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "node.kubernetes.io/unschedulable"}}}}, false},
		"it is being deleted": {corev1.Node{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := compile.IsDeparting(&tc.node); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			spec, _ := compile.Node(compile.NodeInput{Node: &tc.node, Config: &v1alpha1.ProxyConfig{}})
			if spec.Node.Departing != tc.want {
				t.Errorf("the NodeRuleSet says %v, want %v", spec.Node.Departing, tc.want)
			}
		})
	}
}

func TestKubeProxy(t *testing.T) {
	for name, c := range map[string]struct {
		options *v1alpha1.KubeProxyOptions
		want    v1alpha1.KubeProxyAction
	}{
		"left alone":        {nil, ""},
		"no answer is none": {&v1alpha1.KubeProxyOptions{DaemonSet: "kube-system/kube-proxy"}, ""},
		"taken over":        {&v1alpha1.KubeProxyOptions{TakeOver: new(true)}, v1alpha1.KubeProxyTakeOver},
		"given back":        {&v1alpha1.KubeProxyOptions{TakeOver: new(false)}, v1alpha1.KubeProxyGiveBack},
	} {
		t.Run(name, func(t *testing.T) {
			policy := config("default", nil, 0, nil)
			policy.Spec.KubeProxy = c.options
			if got, _ := compile.Node(compile.NodeInput{Node: &corev1.Node{}, Config: &policy}); got.KubeProxy != c.want {
				t.Errorf("%q, want %q", got.KubeProxy, c.want)
			}
		})
	}
}
