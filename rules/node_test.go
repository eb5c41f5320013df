// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// config returns a ProxyConfig that was made so many hours after the first.
func config(name string, priority *int32, hours int, selector *v1alpha1.NodeSelector) v1alpha1.ProxyConfig {
	created := time.Date(2026, 1, 1, hours, 0, 0, 0, time.UTC)
	return v1alpha1.ProxyConfig{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(created)},
		Spec:       v1alpha1.ProxyConfigSpec{Priority: priority, NodeSelector: selector},
	}
}

func TestSelectConfig(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: here, Labels: map[string]string{"pool": "gpu"}}}
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
		"invalid one and only":      {[]v1alpha1.ProxyConfig{config("a", num(9), 0, odd)}, "", "ProxyConfig a: spec.nodeSelector is invalid"},
		"selectors are not a merit": {[]v1alpha1.ProxyConfig{config("a", nil, 0, nil), config("b", nil, 1, gpu)}, "a b", ""},
	} {
		t.Run(name, func(t *testing.T) {
			winner, losers, err := SelectConfig(node, c.configs)
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
		ObjectMeta: metav1.ObjectMeta{Name: here, Labels: map[string]string{corev1.LabelTopologyZone: "a"}},
		Spec:       corev1.NodeSpec{PodCIDR: "10.1.0.0/24", PodCIDRs: []string{"10.01.0.9/24", "FD00:10::/64", "bad"}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: "10.7.7.7"},
			{Type: corev1.NodeExternalIP, Address: "203.0.113.9"},
			{Type: corev1.NodeInternalIP, Address: "192.168.000.002"},
			{Type: corev1.NodeInternalIP, Address: "2001:DB8::2"},
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
	policy.Spec.Masquerade.All = &yes
	policy.Spec.LocalTraffic.Detect = v1alpha1.DetectNodeCIDR
	policy.Spec.Conntrack = &v1alpha1.ConntrackOptions{TCPBeLiberal: &yes}
	want := v1alpha1.NodeRuleSetSpec{
		Policy: v1alpha1.PolicyReference{Name: "default", Generation: 3},
		Mode:   v1alpha1.ModeIPVS, FallbackModes: []v1alpha1.ProxyMode{v1alpha1.ModeNFTables},
		Node: v1alpha1.NodeFacts{
			Zone: "a", Addresses: []string{"192.168.0.2", "2001:db8::2", "203.0.113.9"}, PodCIDRs: []string{"10.1.0.0/24", "fd00:10::/64"},
		},
		IPVS:            &v1alpha1.IPVSOptions{Scheduler: "mh"},
		SessionAffinity: policy.Spec.SessionAffinity, NodePort: policy.Spec.NodePort, Masquerade: policy.Spec.Masquerade,
		LocalTraffic: policy.Spec.LocalTraffic, Conntrack: &v1alpha1.ConntrackOptions{TCPBeLiberal: &yes},
	}
	got, problems := CompileNode(NodeInput{Node: node, Config: &policy})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	wantProblems := []Problem{
		{"Node test-node", `Pod CIDR skipped: "bad" is not a CIDR`},
		{"Node test-node", `address skipped: "host" is not an IP address`},
	}
	if diff := cmp.Diff(wantProblems, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}

	// The result shares nothing with the policy.
	got.NodePort.Addresses[0], got.IPVS.Scheduler = "Primary", "rr"
	if policy.Spec.NodePort.Addresses[0] != "All" || policy.Spec.IPVS.Scheduler != "mh" {
		t.Error("the policy was changed through the result")
	}

	old := node.DeepCopy()
	old.Spec.PodCIDRs = nil
	got, _ = CompileNode(NodeInput{Node: old, Config: &policy})
	if diff := cmp.Diff([]string{"10.1.0.0/24"}, got.Node.PodCIDRs); diff != "" {
		t.Errorf("Pod CIDRs of an old Node (-want +got):\n%s", diff)
	}
}

func TestSettings(t *testing.T) {
	prefixes := func(texts ...string) (out []netip.Prefix) {
		for _, s := range texts {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	primary := []netip.Addr{addr("192.168.0.2"), addr("2001:db8::2")}
	pods := prefixes("10.0.0.0/8", "fd00:10::/32")
	detect := func(d v1alpha1.LocalTrafficDetection, link string) *nodeBuilder {
		b := thisNode()
		b.Spec.Node.PodCIDRs = []string{"10.7.0.0/24"}
		b.Spec.LocalTraffic.Detect, b.Spec.LocalTraffic.Interface = d, link
		return b
	}
	for name, c := range map[string]struct {
		node *nodeBuilder
		want NodeSettings
		err  string
	}{
		"N1 All":     {thisNode().nodePorts("All"), NodeSettings{NodePortCIDRs: prefixes("0.0.0.0/0", "::/0"), PodCIDRs: pods}, ""},
		"N2 default": {thisNode().nodePorts(), NodeSettings{NodePortAddresses: primary, PodCIDRs: pods}, ""},
		"N2 Primary": {thisNode(), NodeSettings{NodePortAddresses: primary, PodCIDRs: pods}, ""},
		"N3 CIDRs": {thisNode().nodePorts("192.168.0.0/24", "192.168.001.9/24"),
			NodeSettings{NodePortCIDRs: prefixes("192.168.0.0/24", "192.168.1.0/24"), PodCIDRs: pods}, ""},
		"N4 Localhost": {thisNode().nodePorts("Localhost"), NodeSettings{NodePortLocalhost: true, PodCIDRs: pods}, ""},
		"N5 CIDRs of one family say nothing of the other": {thisNode().nodePorts("192.168.0.0/24"),
			NodeSettings{NodePortCIDRs: prefixes("192.168.0.0/24"), PodCIDRs: pods}, ""},
		"mixed": {thisNode().nodePorts("Primary", "Localhost", "10.9.0.0/16"),
			NodeSettings{NodePortAddresses: primary, NodePortLocalhost: true, NodePortCIDRs: prefixes("10.9.0.0/16"), PodCIDRs: pods}, ""},
		"malformed CIDR": {thisNode().nodePorts("10.9.0.0/16", "Everything"),
			NodeSettings{NodePortCIDRs: prefixes("10.9.0.0/16"), PodCIDRs: pods}, `nodePort.addresses: "Everything" is not a CIDR`},
		"NodeCIDR":         {detect(v1alpha1.DetectNodeCIDR, ""), NodeSettings{NodePortAddresses: primary, PodCIDRs: prefixes("10.7.0.0/24")}, ""},
		"detection absent": {detect("", ""), NodeSettings{NodePortAddresses: primary, PodCIDRs: prefixes("10.7.0.0/24")}, ""},
		"ClusterCIDR":      {detect(v1alpha1.DetectClusterCIDR, ""), NodeSettings{NodePortAddresses: primary, PodCIDRs: pods}, ""},
		"BridgeInterface":  {detect(v1alpha1.DetectBridgeInterface, "cni0"), NodeSettings{NodePortAddresses: primary, PodInterface: "cni0"}, ""},
		"InterfaceNamePrefix": {detect(v1alpha1.DetectInterfaceNamePrefix, "veth"),
			NodeSettings{NodePortAddresses: primary, PodInterface: "veth", PodInterfacePrefix: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Settings(c.node.Spec)
			got.IPVS = IPVSSettings{} // see TestIPVSSettings
			if diff := cmp.Diff(c.want, got, byValue); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

// Whether a node knows its Pods is a matter of the family (K3).
func TestMasqueradeByFamily(t *testing.T) {
	only4 := thisNode().noDetector()
	only4.Spec.Node.PodCIDRs = []string{"10.0.0.0/8"}
	bridge := thisNode().noDetector()
	bridge.Spec.LocalTraffic = v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectBridgeInterface, Interface: "cni0"}
	both := input(web().ip("172.30.0.41", "fd00:30::41").externalIPs("192.168.99.11", "fd00:99::11").externalLocal(), webSlice().ready(l1, here),
		slice("web").named("web-v6").kind("IPv6").port("http", 80).ready("fd00:10::1", here))
	for name, c := range map[string]struct {
		node   *nodeBuilder
		v4, v6 Masquerade
	}{
		"Pod CIDR of IPv4 only": {only4, MasqueradeUnlessPod, MasqueradeNever},
		"interface":             {bridge, MasqueradeUnlessPod, MasqueradeUnlessPod},
		"cluster CIDRs":         {thisNode(), MasqueradeUnlessPod, MasqueradeUnlessPod},
		"none":                  {thisNode().noDetector(), MasqueradeNever, MasqueradeNever},
	} {
		t.Run(name, func(t *testing.T) {
			d := tableOf(t, c.node.Node, both).Desired()
			if got := d.Frontends[FrontendKey{addr("172.30.0.41"), TCP, 80}].External.Masquerade; got != c.v4 {
				t.Errorf("IPv4: got %s, want %s", got, c.v4)
			}
			if got := d.Frontends[FrontendKey{addr("fd00:30::41"), TCP, 80}].External.Masquerade; got != c.v6 {
				t.Errorf("IPv6: got %s, want %s", got, c.v6)
			}
			// Under the policy Local, processes of the node are masqueraded even
			// where no Pod is known (E11).
			want := map[Masquerade]Masquerade{MasqueradeUnlessPod: MasqueradeUnlessPod, MasqueradeNever: MasqueradeAlways}
			if got := d.Frontends[FrontendKey{addr("192.168.99.11"), TCP, 80}].Internal.Masquerade; got != want[c.v4] {
				t.Errorf("policy Local, IPv4: got %s, want %s", got, want[c.v4])
			}
			if got := d.Frontends[FrontendKey{addr("fd00:99::11"), TCP, 80}].Internal.Masquerade; got != want[c.v6] {
				t.Errorf("policy Local, IPv6: got %s, want %s", got, want[c.v6])
			}
		})
	}
}

func TestIsDeparting(t *testing.T) {
	now := metav1.Now()
	cases := map[string]struct {
		node corev1.Node
		want bool
	}{
		"an ordinary node":    {corev1.Node{}, false},
		"H4 tainted to go":    {corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: TaintToBeDeleted, Effect: corev1.TaintEffectNoSchedule}}}}, true},
		"tainted otherwise":   {corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "node.kubernetes.io/unschedulable"}}}}, false},
		"it is being deleted": {corev1.Node{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := IsDeparting(&tc.node); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			spec, _ := CompileNode(NodeInput{Node: &tc.node, Config: &v1alpha1.ProxyConfig{}})
			if spec.Node.Departing != tc.want {
				t.Errorf("the NodeRuleSet says %v, want %v", spec.Node.Departing, tc.want)
			}
		})
	}
}
