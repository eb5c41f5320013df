// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
)

func TestLoadBalancerFlows(t *testing.T) {
	const ep, lb1, lb2, np = "10.180.0.1:80", "1.2.3.4:80", "5.6.7.8:80", "192.168.0.2:3001"
	balanced := func(cidrs ...string) *serviceBuilder {
		return web().NodePort(3001).LoadBalancer("1.2.3.4", "5.6.7.8").Sources(cidrs...)
	}
	local := webSlice().Ready(l1, here)
	for name, c := range map[string]flowCase{
		"B1-B6 source ranges": {
			inputs: one(input(balanced("192.168.0.0/24", " 203.0.113.0/25"), local)),
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
			inputs: one(input(balanced("203.0.113.0/25"), local)),
			flows:  []flow{{"host 1.2.3.4", lb1, "DROP"}, {"host", lb1, "DROP"}, {"out", lb1, ep + " snat"}},
		},
		"B8 everyone is allowed": {
			inputs: one(input(balanced("0.0.0.0/0"), local)),
			flows:  []flow{{"blocked", lb1, ep + " snat"}, {"pod", lb1, ep + " snat"}},
		},
		"B8 everyone besides others": {
			inputs: one(input(balanced("203.0.113.0/25", "000.0.0.0/0", "nonsense"), local)),
			flows:  []flow{{"blocked", lb1, ep + " snat"}},
		},
		"B9 no endpoints": {
			inputs: one(input(balanced("203.0.113.0/25"))),
			flows:  []flow{{"blocked", lb1, "DROP"}, {"out", lb1, "REJECT"}, {"blocked", np, "REJECT"}},
		},
		"B10 ipMode Proxy and VIP": {
			inputs: one(input(web().Ingress(
				ingress("1.2.3.4", corev1.LoadBalancerIPModeProxy),
				ingress("5.6.7.8", corev1.LoadBalancerIPModeVIP)), local)),
			flows: []flow{{"pod", lb1, "pass"}, {"out", lb1, "pass"}, {"pod", lb2, ep + " snat"}},
		},
		"B11 ranges of the other family deny everyone": {
			inputs: one(input(web().IP("172.30.0.41", "fd00:30::41").LoadBalancer("1.2.3.4", "2001:db8:1::4").Sources("203.0.113.0/25"),
				local, slice("web").Named("web-v6").Kind(discoveryv1.AddressTypeIPv6).Port("http", 80).Ready("fd00:10::1", here))),
			flows: []flow{
				{"2001:db8:9::9", "[2001:db8:1::4]:80", "DROP"}, {"fd00:10::7", "[2001:db8:1::4]:80", "DROP"},
				{"2001:db8:9::9", "[fd00:30::41]:80", "[fd00:10::1]:80 snat"},
				{"out", lb1, ep + " snat"}, {"blocked", lb1, "DROP"},
			},
		},
		"B11 only invalid ranges deny everyone": {
			inputs: one(input(balanced("203.0.113.0"), local)),
			flows:  []flow{{"out", lb1, "DROP"}, {"host", lb1, "DROP"}},
		},
		"B12 hostname only": {
			inputs: one(input(web().Ingress(corev1.LoadBalancerIngress{Hostname: "lb.example.com"}), local)),
			flows:  []flow{{"out", lb1, "pass"}, {"pod", "172.30.0.41:80", ep}},
		},
		"source ranges do not concern external IPs": {
			inputs: one(input(balanced("203.0.113.0/25").ExternalIPs("192.168.99.11", "1.2.3.4"), local)),
			flows:  []flow{{"blocked", "192.168.99.11:80", ep + " snat"}, {"blocked", lb1, "DROP"}},
		},
	} {
		t.Run(name, c.run)
	}
}

func TestNodePortFlows(t *testing.T) {
	const ep = "10.180.0.1:80 snat"
	inputs := one(input(web().NodePort(3001), webSlice().Ready(l1, here)))
	for name, c := range map[string]flowCase{
		"N1 All": {
			node: thisNode().NodePorts(v1alpha1.NodePortAll), inputs: inputs,
			flows: []flow{
				{"out", "192.168.0.2:3001", ep}, {"out", "192.168.1.2:3001", ep}, {"out", "192.168.99.11:3001", ep},
				{"host", "127.0.0.1:3001", "pass"},
			},
		},
		"N2 default": {
			node: thisNode().NodePorts(), inputs: inputs,
			flows: []flow{{"out", "192.168.0.2:3001", ep}, {"out", "192.168.1.2:3001", "pass"}, {"host", "127.0.0.1:3001", "pass"}},
		},
		"N3 CIDRs": {
			node: thisNode().NodePorts("192.168.0.0/24", "192.168.1.0/24"), inputs: inputs,
			flows: []flow{{"out", "192.168.0.2:3001", ep}, {"out", "192.168.1.2:3001", ep}, {"out", "192.168.99.11:3001", "pass"}},
		},
		"N4 Localhost": {
			node: thisNode().NodePorts(v1alpha1.NodePortLocalhost), inputs: inputs,
			flows: []flow{{"host 127.0.0.1", "127.0.0.1:3001", ep}, {"host ::1", "[::1]:3001", "pass"}, {"out", "192.168.0.2:3001", "pass"}},
		},
		"N6 one number for TCP and UDP": {
			inputs: []compile.Input{
				input(web().NodePort(3001), webSlice().Ready(l1, here)),
				input(svc("dns").IP("172.30.0.10").Port("dns", 53).Protocol(corev1.ProtocolUDP).NodePort(3001),
					slice("dns").Port("dns", 53).Protocol(corev1.ProtocolUDP).Ready(r1, there)),
			},
			flows: []flow{{"out", "192.168.0.2:3001", ep}, {"out", "192.168.0.2:3001/udp", "10.180.1.1:53 snat"}},
		},
		"N7 NodePort": {
			inputs: inputs,
			flows:  []flow{{"out", "192.168.0.2:3001", ep}, {"pod", "172.30.0.41:80", "10.180.0.1:80"}},
		},
		"N7 ExternalName": {
			inputs: one(input(web().NodePort(3001).Kind(corev1.ServiceTypeExternalName), webSlice().Ready(l1, here))),
			flows:  []flow{{"out", "192.168.0.2:3001", "pass"}, {"pod", "172.30.0.41:80", "pass"}},
		},
		"N7 ClusterIP": {
			inputs: one(input(web(), webSlice().Ready(l1, here))),
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
		inputs: one(input(web().NodePort(3001).ExternalLocal(),
			webSlice().Named("written-by-hand").Ready("198.51.100.7", "").Ready("198.51.100.8", ""))),
		flows: []flow{
			{"pod", "172.30.0.41:80", "198.51.100.7:80 198.51.100.8:80"},
			{"out", "192.168.0.2:3001", "DROP"},
		},
	}.run(t)
}

func TestDualStackFlows(t *testing.T) {
	v6 := slice("web").Named("web-v6").Kind(discoveryv1.AddressTypeIPv6).Port("http", 80)
	flowCase{
		inputs: one(input(web().IP("fd00:30::41", "172.30.0.41").NodePort(3001),
			webSlice().Ready(l1, here), v6.Ready("fd00:10::1", here).Ready("fd00:10:1::1", there))),
		flows: []flow{
			{"pod", "172.30.0.41:80", "10.180.0.1:80"},
			{"fd00:10::7", "[fd00:30::41]:80", "[fd00:10::1]:80 [fd00:10:1::1]:80"},
			{"2001:db8:9::9", "[2001:db8::2]:3001", "[fd00:10::1]:80 [fd00:10:1::1]:80 snat"},
			{"out", "192.168.0.2:3001", "10.180.0.1:80 snat"},
		},
	}.run(t)
}
