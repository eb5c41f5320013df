// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

func TestSettings(t *testing.T) {
	prefixes := func(texts ...string) (out []netip.Prefix) {
		for _, s := range texts {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	primary := []netip.Addr{Addr("192.168.0.2"), Addr("2001:db8::2")}
	pods := prefixes("10.0.0.0/8", "fd00:10::/32")
	detect := func(d v1alpha1.LocalTrafficDetection, link string) *NodeBuilder {
		b := ThisNode()
		b.Spec.Node.PodCIDRs = []string{"10.7.0.0/24"}
		b.Spec.LocalTraffic.Detect, b.Spec.LocalTraffic.Interface = d, link
		return b
	}
	for name, c := range map[string]struct {
		node *NodeBuilder
		want model.NodeSettings
		err  string
	}{
		"N1 All":     {ThisNode().NodePorts("All"), model.NodeSettings{NodePortCIDRs: prefixes("0.0.0.0/0", "::/0"), PodCIDRs: pods}, ""},
		"N2 default": {ThisNode().NodePorts(), model.NodeSettings{NodePortAddresses: primary, PodCIDRs: pods}, ""},
		"N2 Primary": {ThisNode(), model.NodeSettings{NodePortAddresses: primary, PodCIDRs: pods}, ""},
		"N3 CIDRs": {ThisNode().NodePorts("192.168.0.0/24", "192.168.001.9/24"),
			model.NodeSettings{NodePortCIDRs: prefixes("192.168.0.0/24", "192.168.1.0/24"), PodCIDRs: pods}, ""},
		"N4 Localhost": {ThisNode().NodePorts("Localhost"), model.NodeSettings{NodePortLocalhost: true, PodCIDRs: pods}, ""},
		"N5 CIDRs of one family say nothing of the other": {ThisNode().NodePorts("192.168.0.0/24"),
			model.NodeSettings{NodePortCIDRs: prefixes("192.168.0.0/24"), PodCIDRs: pods}, ""},
		"mixed": {ThisNode().NodePorts("Primary", "Localhost", "10.9.0.0/16"),
			model.NodeSettings{NodePortAddresses: primary, NodePortLocalhost: true, NodePortCIDRs: prefixes("10.9.0.0/16"), PodCIDRs: pods}, ""},
		"malformed CIDR": {ThisNode().NodePorts("10.9.0.0/16", "Everything"),
			model.NodeSettings{NodePortCIDRs: prefixes("10.9.0.0/16"), PodCIDRs: pods}, `nodePort.addresses: "Everything" is not a CIDR`},
		"N8 source ranges": {ThisNode().NodePortSources("203.0.113.0/24", "10.0.0.0/8", "203.0.113.7/24", "2001:db8::/32"),
			model.NodeSettings{NodePortAddresses: primary, NodePortsRestricted: true, NodePortSources: prefixes("10.0.0.0/8", "203.0.113.0/24", "2001:db8::/32"), PodCIDRs: pods}, ""},
		"malformed source ranges open nothing": {ThisNode().NodePortSources("203.0.113.0"),
			model.NodeSettings{NodePortAddresses: primary, NodePortsRestricted: true, PodCIDRs: pods}, `nodePort.sourceRanges: "203.0.113.0" is not a CIDR`},
		"NodeCIDR":         {detect(v1alpha1.DetectNodeCIDR, ""), model.NodeSettings{NodePortAddresses: primary, PodCIDRs: prefixes("10.7.0.0/24")}, ""},
		"detection absent": {detect("", ""), model.NodeSettings{NodePortAddresses: primary, PodCIDRs: prefixes("10.7.0.0/24")}, ""},
		"ClusterCIDR":      {detect(v1alpha1.DetectClusterCIDR, ""), model.NodeSettings{NodePortAddresses: primary, PodCIDRs: pods}, ""},
		"BridgeInterface":  {detect(v1alpha1.DetectBridgeInterface, "cni0"), model.NodeSettings{NodePortAddresses: primary, PodInterface: "cni0"}, ""},
		"InterfaceNamePrefix": {detect(v1alpha1.DetectInterfaceNamePrefix, "veth"),
			model.NodeSettings{NodePortAddresses: primary, PodInterface: "veth", PodInterfacePrefix: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := resolve.Settings(c.node.Spec)
			if diff := cmp.Diff(c.want, got, ByValue); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

// Whether a node recognizes its Pods depends on the family (K3).
func TestMasqueradeByFamily(t *testing.T) {
	only4 := ThisNode().NoDetector()
	only4.Spec.Node.PodCIDRs = []string{"10.0.0.0/8"}
	bridge := ThisNode().NoDetector()
	bridge.Spec.LocalTraffic = v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectBridgeInterface, Interface: "cni0"}
	both := Input(Web().IP("172.30.0.41", "fd00:30::41").ExternalIPs("192.168.99.11", "fd00:99::11").ExternalLocal(), WebSlice().Ready(L1, Here),
		Slice("web").Named("web-v6").Kind("IPv6").Port("http", 80).Ready("fd00:10::1", Here))
	for name, c := range map[string]struct {
		node   *NodeBuilder
		v4, v6 model.Masquerade
	}{
		"Pod CIDR of IPv4 only": {only4, model.MasqueradeUnlessPod, model.MasqueradeNever},
		"interface":             {bridge, model.MasqueradeUnlessPod, model.MasqueradeUnlessPod},
		"cluster CIDRs":         {ThisNode(), model.MasqueradeUnlessPod, model.MasqueradeUnlessPod},
		"none":                  {ThisNode().NoDetector(), model.MasqueradeNever, model.MasqueradeNever},
	} {
		t.Run(name, func(t *testing.T) {
			d := TableOf(t, c.node.Node, both).Desired()
			if got := d.Frontends[model.FrontendKey{Address: Addr("172.30.0.41"), Protocol: model.TCP, Port: 80}].External.Masquerade; got != c.v4 {
				t.Errorf("IPv4: got %s, want %s", got, c.v4)
			}
			if got := d.Frontends[model.FrontendKey{Address: Addr("fd00:30::41"), Protocol: model.TCP, Port: 80}].External.Masquerade; got != c.v6 {
				t.Errorf("IPv6: got %s, want %s", got, c.v6)
			}
			// Under the policy Local, processes of the node are masqueraded even if Pods
			// are not recognized (E11).
			want := map[model.Masquerade]model.Masquerade{model.MasqueradeUnlessPod: model.MasqueradeUnlessPod, model.MasqueradeNever: model.MasqueradeAlways}
			if got := d.Frontends[model.FrontendKey{Address: Addr("192.168.99.11"), Protocol: model.TCP, Port: 80}].Internal.Masquerade; got != want[c.v4] {
				t.Errorf("policy Local, IPv4: got %s, want %s", got, want[c.v4])
			}
			if got := d.Frontends[model.FrontendKey{Address: Addr("fd00:99::11"), Protocol: model.TCP, Port: 80}].Internal.Masquerade; got != want[c.v6] {
				t.Errorf("policy Local, IPv6: got %s, want %s", got, want[c.v6])
			}
		})
	}
}

// TestServiceCIDRSettings checks in which ranges a node drops unallocated ClusterIPs.
func TestServiceCIDRSettings(t *testing.T) {
	node := v1alpha1.NodeFacts{Addresses: []string{"192.168.0.2", "2001:db8::2"}, PodCIDRs: []string{"10.244.1.0/24", "fd00:244:1::/64"}}
	for name, c := range map[string]struct {
		cidrs string
		want  string
		err   string
	}{
		"none":                        {"", "[]", ""},
		"both families":               {"10.96.0.0/16 fd00:96::/108", "[10.96.0.0/16 fd00:96::/108]", ""},
		"malformed":                   {"10.96.0.0/16 10.97.0.0", "[10.96.0.0/16]", `serviceCIDRs: "10.97.0.0" is not a CIDR`},
		"contains the node":           {"192.168.0.0/16 10.96.0.0/16", "[10.96.0.0/16]", "ServiceCIDR 192.168.0.0/16 contains node IP 192.168.0.2; unallocated ClusterIPs in it are not dropped"},
		"contains the node's Pods":    {"10.244.0.0/16 10.96.0.0/16", "[10.96.0.0/16]", "ServiceCIDR 10.244.0.0/16 overlaps the node's Pod CIDR 10.244.1.0/24; unallocated ClusterIPs in it are not dropped"},
		"part of the node's Pod CIDR": {"10.244.1.128/25", "[]", "overlaps the node's Pod CIDR 10.244.1.0/24"},
		"everything":                  {"0.0.0.0/0 ::/0", "[]", "contains node IP 2001:db8::2"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := resolve.Settings(v1alpha1.NodeRuleSetSpec{Node: node, ServiceCIDRs: strings.Fields(c.cidrs)})
			if text := fmt.Sprint(got.ServiceCIDRs); text != c.want {
				t.Errorf("got %s, want %s", text, c.want)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

// TestServiceCIDRsAreFlushed checks that a new range is a change of the node.
func TestServiceCIDRsAreFlushed(t *testing.T) {
	table := resolve.NewTable()
	table.SetNode(model.NodeSettings{})
	if d := table.Flush(); !d.Empty() {
		t.Errorf("before: %+v", d)
	}
	want := model.NodeSettings{ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}}
	table.SetNode(want)
	d := table.Flush()
	if d.Node == nil {
		t.Fatal("no change")
	}
	if diff := cmp.Diff(want, *d.Node, ByValue); diff != "" {
		t.Error(diff)
	}
}
