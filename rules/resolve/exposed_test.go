// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
)

func TestLoadBalancerFlows(t *testing.T) {
	const ep, lb1, lb2, np = "10.180.0.1:80", "1.2.3.4:80", "5.6.7.8:80", "192.168.0.2:3001"
	balanced := func(cidrs ...string) *ServiceBuilder {
		return Web().NodePort(3001).LoadBalancer("1.2.3.4", "5.6.7.8").Sources(cidrs...)
	}
	local := WebSlice().Ready(L1, Here)
	for name, c := range map[string]flowCase{
		"B1-B6 source ranges": {
			inputs: One(Input(balanced("192.168.0.0/24", " 203.0.113.0/25"), local)),
			flows: []flow{
				{"out", lb1, ep + " snat"}, {"out", lb2, ep + " snat"}, // B1
				{"blocked", lb1, "DROP"}, {"blocked", lb2, "DROP"}, // B2
				{"blocked", np, ep + " snat"},                                      // B3
				{"pod", lb1, "DROP"},                                               // B4
				{"host", lb1, ep + " snat"},                                        // B5
				{"host 1.2.3.4", lb1, ep + " snat"}, {"host 1.2.3.4", lb2, "DROP"}, // B6
				{"blocked", "172.30.0.41:80", ep + " snat"},
			},
		},
		"B7 the node is not allowed": {
			inputs: One(Input(balanced("203.0.113.0/25"), local)),
			flows:  []flow{{"host 1.2.3.4", lb1, "DROP"}, {"host", lb1, "DROP"}, {"out", lb1, ep + " snat"}},
		},
		"B8 everyone is allowed": {
			inputs: One(Input(balanced("0.0.0.0/0"), local)),
			flows:  []flow{{"blocked", lb1, ep + " snat"}, {"pod", lb1, ep + " snat"}},
		},
		"B8 everyone besides others": {
			inputs: One(Input(balanced("203.0.113.0/25", "000.0.0.0/0", "nonsense"), local)),
			flows:  []flow{{"blocked", lb1, ep + " snat"}},
		},
		"B9 no endpoints": {
			inputs: One(Input(balanced("203.0.113.0/25"))),
			flows:  []flow{{"blocked", lb1, "DROP"}, {"out", lb1, "REJECT"}, {"blocked", np, "REJECT"}},
		},
		"B10 ipMode Proxy and VIP": {
			inputs: One(Input(Web().Ingress(
				Ingress("1.2.3.4", corev1.LoadBalancerIPModeProxy),
				Ingress("5.6.7.8", corev1.LoadBalancerIPModeVIP)), local)),
			flows: []flow{{"pod", lb1, "pass"}, {"out", lb1, "pass"}, {"pod", lb2, ep + " snat"}},
		},
		"B11 ranges of the other family deny everyone": {
			inputs: One(Input(Web().IP("172.30.0.41", "fd00:30::41").LoadBalancer("1.2.3.4", "2001:db8:1::4").Sources("203.0.113.0/25"),
				local, Slice("web").Named("web-v6").Kind(discoveryv1.AddressTypeIPv6).Port("http", 80).Ready("fd00:10::1", Here))),
			flows: []flow{
				{"2001:db8:9::9", "[2001:db8:1::4]:80", "DROP"}, {"fd00:10::7", "[2001:db8:1::4]:80", "DROP"},
				{"2001:db8:9::9", "[fd00:30::41]:80", "[fd00:10::1]:80 snat"},
				{"out", lb1, ep + " snat"}, {"blocked", lb1, "DROP"},
			},
		},
		"B11 only invalid ranges deny everyone": {
			inputs: One(Input(balanced("203.0.113.0"), local)),
			flows:  []flow{{"out", lb1, "DROP"}, {"host", lb1, "DROP"}},
		},
		"B12 hostname only": {
			inputs: One(Input(Web().Ingress(corev1.LoadBalancerIngress{Hostname: "lb.example.com"}), local)),
			flows:  []flow{{"out", lb1, "pass"}, {"pod", "172.30.0.41:80", ep}},
		},
		"source ranges do not concern external IPs": {
			inputs: One(Input(balanced("203.0.113.0/25").ExternalIPs("192.168.99.11", "1.2.3.4"), local)),
			flows:  []flow{{"blocked", "192.168.99.11:80", ep + " snat"}, {"blocked", lb1, "DROP"}},
		},
	} {
		t.Run(name, c.run)
	}
}

func TestNodePortFlows(t *testing.T) {
	const ep = "10.180.0.1:80 snat"
	inputs := One(Input(Web().NodePort(3001), WebSlice().Ready(L1, Here)))
	for name, c := range map[string]flowCase{
		"N1 All": {
			node: ThisNode().NodePorts(v1alpha1.NodePortAll), inputs: inputs,
			flows: []flow{
				{"out", "192.168.0.2:3001", ep}, {"out", "192.168.1.2:3001", ep}, {"out", "192.168.99.11:3001", ep},
				{"host", "127.0.0.1:3001", "pass"},
			},
		},
		"N2 default": {
			node: ThisNode().NodePorts(), inputs: inputs,
			flows: []flow{{"out", "192.168.0.2:3001", ep}, {"out", "192.168.1.2:3001", "pass"}, {"host", "127.0.0.1:3001", "pass"}},
		},
		"N3 CIDRs": {
			node: ThisNode().NodePorts("192.168.0.0/24", "192.168.1.0/24"), inputs: inputs,
			flows: []flow{{"out", "192.168.0.2:3001", ep}, {"out", "192.168.1.2:3001", ep}, {"out", "192.168.99.11:3001", "pass"}},
		},
		"N4 Localhost": {
			node: ThisNode().NodePorts(v1alpha1.NodePortLocalhost), inputs: inputs,
			flows: []flow{{"host 127.0.0.1", "127.0.0.1:3001", ep}, {"host ::1", "[::1]:3001", "pass"}, {"out", "192.168.0.2:3001", "pass"}},
		},
		"N8 source ranges": {
			node:   ThisNode().NodePorts(v1alpha1.NodePortAll).NodePortSources("203.0.113.0/25", "10.0.0.3/32"),
			inputs: One(Input(Web().NodePort(3001).LoadBalancer("1.2.3.4"), WebSlice().Ready(L1, Here))),
			flows: []flow{
				{"203.0.113.2", "192.168.0.2:3001", ep}, {"203.0.113.130", "192.168.0.2:3001", "DROP"},
				{"pod", "192.168.1.2:3001", "DROP"}, {"10.0.0.3", "192.168.1.2:3001", ep}, {"host 192.168.1.2", "192.168.0.2:3001", ep},
				{"203.0.113.130", "1.2.3.4:80", ep}, {"pod", "172.30.0.41:80", "10.180.0.1:80"},
			},
		},
		"N6 one number for TCP and UDP": {
			inputs: []compile.Input{
				Input(Web().NodePort(3001), WebSlice().Ready(L1, Here)),
				Input(Service("dns").IP("172.30.0.10").Port("dns", 53).Protocol(corev1.ProtocolUDP).NodePort(3001),
					Slice("dns").Port("dns", 53).Protocol(corev1.ProtocolUDP).Ready(R1, There)),
			},
			flows: []flow{{"out", "192.168.0.2:3001", ep}, {"out", "192.168.0.2:3001/udp", "10.180.1.1:53 snat"}},
		},
		"N7 NodePort": {
			inputs: inputs,
			flows:  []flow{{"out", "192.168.0.2:3001", ep}, {"pod", "172.30.0.41:80", "10.180.0.1:80"}},
		},
		"N7 ExternalName": {
			inputs: One(Input(Web().NodePort(3001).Kind(corev1.ServiceTypeExternalName), WebSlice().Ready(L1, Here))),
			flows:  []flow{{"out", "192.168.0.2:3001", "pass"}, {"pod", "172.30.0.41:80", "pass"}},
		},
		"N7 ClusterIP": {
			inputs: One(Input(Web(), WebSlice().Ready(L1, Here))),
			flows:  []flow{{"out", "192.168.0.2:3001", "pass"}, {"pod", "172.30.0.41:80", "10.180.0.1:80"}},
		},
	} {
		t.Run(name, c.run)
	}
}

// A Service without a selector has EndpointSlices that were written by hand: without node
// names, perhaps with endpoints outside of the cluster.
func TestServiceWithoutSelector(t *testing.T) {
	flowCase{
		inputs: One(Input(Web().NodePort(3001).ExternalLocal(),
			WebSlice().Named("written-by-hand").Ready("198.51.100.7", "").Ready("198.51.100.8", ""))),
		flows: []flow{
			{"pod", "172.30.0.41:80", "198.51.100.7:80 198.51.100.8:80"},
			{"out", "192.168.0.2:3001", "DROP"},
		},
	}.run(t)
}

func TestDualStackFlows(t *testing.T) {
	v6 := Slice("web").Named("web-v6").Kind(discoveryv1.AddressTypeIPv6).Port("http", 80)
	flowCase{
		inputs: One(Input(Web().IP("fd00:30::41", "172.30.0.41").NodePort(3001),
			WebSlice().Ready(L1, Here), v6.Ready("fd00:10::1", Here).Ready("fd00:10:1::1", There))),
		flows: []flow{
			{"pod", "172.30.0.41:80", "10.180.0.1:80"},
			{"fd00:10::7", "[fd00:30::41]:80", "[fd00:10::1]:80 [fd00:10:1::1]:80"},
			{"2001:db8:9::9", "[2001:db8::2]:3001", "[fd00:10::1]:80 [fd00:10:1::1]:80 snat"},
			{"out", "192.168.0.2:3001", "10.180.0.1:80 snat"},
		},
	}.run(t)
}
