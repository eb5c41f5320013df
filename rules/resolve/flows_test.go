// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
)

// flowCase is a cluster and the packets that are followed through it.
type flowCase struct {
	node   *NodeBuilder // nil: thisNode
	inputs []compile.Input
	flows  []flow
}

func (c flowCase) run(t *testing.T) {
	t.Helper()
	node := c.node
	if node == nil {
		node = ThisNode()
	}
	table := TableOf(t, node.Node, c.inputs...)
	checkFlows(t, node.Node, table.Desired(), c.flows)
}

func TestClusterIPFlows(t *testing.T) {
	const vip = "172.30.0.41:80"
	exposed := Web().NodePort(3001).LoadBalancer("1.2.3.4").ExternalIPs("192.168.99.11")
	for name, c := range map[string]flowCase{
		"C1 pod reaches the endpoint": {
			inputs: One(Input(Web(), WebSlice().Ready(L1, Here))),
			flows:  []flow{{"pod", vip, "10.180.0.1:80"}},
		},
		"C2 hairpin": {
			inputs: One(Input(Web(), WebSlice().Ready(L1, Here))),
			flows:  []flow{{L1, vip, "10.180.0.1:80 snat"}},
		},
		"C3 two endpoints": {
			inputs: One(Input(Web(), WebSlice().Ready(L1, Here).Ready(R1, There))),
			flows:  []flow{{"pod", vip, "10.180.0.1:80 10.180.1.1:80"}},
		},
		"C4 target port differs": {
			inputs: One(Input(Service("web").Port("https", 443), Slice("web").Port("https", 8443).Ready(L1, Here))),
			flows:  []flow{{"pod", "172.30.0.41:443", "10.180.0.1:8443"}},
		},
		"C5 protocols on one address are independent": {
			inputs: One(Input(
				Service("dns").Port("tcp", 53).Port("udp", 53).Protocol(corev1.ProtocolUDP).Port("sctp", 53).Protocol(corev1.ProtocolSCTP),
				Slice("dns").Port("tcp", 5353).Port("udp", 53).Protocol(corev1.ProtocolUDP).Ready(L1, Here),
				Slice("dns").Named("dns-2").Port("sctp", 53).Protocol(corev1.ProtocolSCTP).Ready(R1, There))),
			flows: []flow{
				{"pod", "172.30.0.41:53", "10.180.0.1:5353"},
				{"pod", "172.30.0.41:53/udp", "10.180.0.1:53"},
				{"pod", "172.30.0.41:53/sctp", "10.180.1.1:53"},
			},
		},
		"C6 UDP to a port that is TCP only": {
			inputs: One(Input(Web(), WebSlice().Ready(L1, Here))),
			flows:  []flow{{"pod", vip + "/udp", "REJECT"}},
		},
		"C7 port of another Service": {
			inputs: []compile.Input{
				Input(Web(), WebSlice().Ready(L1, Here)),
				Input(Service("other").IP("172.30.0.42").Port("x", 81), Slice("other").Port("x", 81).Ready(L1, Here)),
			},
			flows: []flow{{"pod", "172.30.0.41:81", "REJECT"}, {"pod", "172.30.0.42:81", "10.180.0.1:81"}},
		},
		"C9 no endpoints, C10 slice gone again": {
			inputs: One(Input(exposed)),
			flows: []flow{
				{"pod", vip, "REJECT"}, {"out", "192.168.99.11:80", "REJECT"},
				{"pod", "192.168.0.2:3001", "REJECT"}, {"out", "192.168.0.2:3001", "REJECT"},
				{"pod", "1.2.3.4:80", "REJECT"}, {"out", "1.2.3.4:80", "REJECT"},
			},
		},
		"C10 slice added": {
			inputs: One(Input(exposed, WebSlice().Ready(L1, Here))),
			flows:  []flow{{"pod", vip, "10.180.0.1:80"}, {"out", "1.2.3.4:80", "10.180.0.1:80 snat"}},
		},
		"C11 sloppy addresses": {
			inputs: One(Input(Web().IP("172.30.0.041"), WebSlice().Ready("10.180.00.001", Here))),
			flows:  []flow{{"pod", vip, "10.180.0.1:80"}},
		},
	} {
		t.Run(name, c.run)
	}
}

func TestInternalPolicyFlows(t *testing.T) {
	const vip = "172.30.0.41:80"
	mixed := WebSlice().Ready(L1, Here).Ready(R1, There).Ready(R2, There)
	for name, c := range map[string]flowCase{
		"I1 Cluster": {
			inputs: One(Input(Web(), mixed)),
			flows:  []flow{{"pod", vip, "10.180.0.1:80 10.180.1.1:80 10.180.1.2:80"}},
		},
		"I2 Local, one local": {
			inputs: One(Input(Web().InternalLocal(), mixed)),
			flows:  []flow{{"pod", vip, "10.180.0.1:80"}},
		},
		"I3 Local, two local": {
			inputs: One(Input(Web().InternalLocal(), WebSlice().Ready(L1, Here).Ready(L2, Here).Ready(R1, There))),
			flows:  []flow{{"pod", vip, "10.180.0.1:80 10.180.0.2:80"}},
		},
		"I4 Local, none local": {
			inputs: One(Input(Web().InternalLocal(), WebSlice().Ready(R1, There))),
			flows:  []flow{{"pod", vip, "DROP"}, {"host", vip, "DROP"}, {"out", vip, "DROP"}},
		},
		"I4 Local, none anywhere": {
			inputs: One(Input(Web().InternalLocal(), WebSlice().Unready(L1, Here))),
			flows:  []flow{{"pod", vip, "REJECT"}},
		},
		"I5 Local does not concern node ports": {
			inputs: One(Input(Web().NodePort(3001).InternalLocal(), mixed)),
			flows: []flow{
				{"pod", "192.168.0.2:3001", "10.180.0.1:80 10.180.1.1:80 10.180.1.2:80 snat"},
				{"pod", vip, "10.180.0.1:80"},
			},
		},
		"I6 Local, from outside to the ClusterIP": {
			inputs: One(Input(Web().InternalLocal(), mixed)),
			flows:  []flow{{"out", vip, "10.180.0.1:80 snat"}, {"host", vip, "10.180.0.1:80 snat"}},
		},
	} {
		t.Run(name, c.run)
	}
}

func TestExternalPolicyFlows(t *testing.T) {
	const vip, np, lb, ext = "172.30.0.42:80", "192.168.0.2:3002", "5.6.7.8:80", "192.168.99.11:80"
	const both, local = "10.180.0.2:80 10.180.1.2:80", "10.180.0.2:80"
	exposed := func() *ServiceBuilder {
		return Web().IP("172.30.0.42").NodePort(3002).LoadBalancer("5.6.7.8").ExternalIPs("192.168.99.11")
	}
	all := WebSlice().Ready(R2, There).Ready(L2, Here)
	remote := WebSlice().Ready(R2, There)
	for name, c := range map[string]flowCase{
		"E1-E9 Local": {
			inputs: One(Input(exposed().ExternalLocal(), all)),
			flows: []flow{
				{"pod", vip, both}, {"pod", ext, both}, {"out", ext, local}, // E1-E3
				{"pod", lb, both}, {"out", lb, local}, // E4, E5
				{"pod", np, both}, {"out", np, local}, // E6, E7
				{"host", lb, both + " snat"}, {"host", np, both + " snat"}, // E8, E9
				{"host", ext, both + " snat"}, {"host", vip, both + " snat"}, {"out", vip, both + " snat"},
			},
		},
		"E10 Local, none local": {
			inputs: One(Input(exposed().ExternalLocal(), remote)),
			flows: []flow{
				{"out", ext, "DROP"}, {"out", lb, "DROP"}, {"out", np, "DROP"},
				{"pod", ext, "10.180.1.2:80"}, {"pod", lb, "10.180.1.2:80"}, {"pod", np, "10.180.1.2:80"},
				{"host", ext, "10.180.1.2:80 snat"}, {"host", lb, "10.180.1.2:80 snat"}, {"host", np, "10.180.1.2:80 snat"},
				{"out", vip, "10.180.1.2:80 snat"},
			},
		},
		"E11 Local, no detector": {
			node:   ThisNode().NoDetector(),
			inputs: One(Input(exposed().ExternalLocal(), all)),
			flows:  []flow{{"pod", lb, local}, {"host", lb, both + " snat"}, {"pod", vip, both}},
		},
		"K1 Cluster": {
			inputs: One(Input(exposed(), all)),
			flows: []flow{
				{"pod", vip, both}, {"host", vip, both + " snat"}, {"out", vip, both + " snat"},
				{"pod", ext, both + " snat"}, {"host", ext, both + " snat"}, {"out", ext, both + " snat"},
				{"pod", lb, both + " snat"}, {"host", lb, both + " snat"}, {"out", lb, both + " snat"},
				{"pod", np, both + " snat"}, {"host", np, both + " snat"}, {"out", np, both + " snat"},
			},
		},
		"K2 masquerade all": {
			node:   ThisNode().MasqueradeAll(),
			inputs: One(Input(exposed().ExternalLocal(), all)),
			flows:  []flow{{"pod", vip, both + " snat"}, {"out", lb, local}, {"pod", lb, both}},
		},
		"K3 no detector": {
			node:   ThisNode().NoDetector(),
			inputs: One(Input(exposed(), all)),
			flows:  []flow{{"pod", vip, both}, {"host", vip, both}, {"out", vip, both}, {"pod", np, both + " snat"}},
		},
		"K3 no detector but masquerade all": {
			node:   ThisNode().NoDetector().MasqueradeAll(),
			inputs: One(Input(exposed(), all)),
			flows:  []flow{{"pod", vip, both + " snat"}, {"out", vip, both + " snat"}},
		},
		"ClusterIP type with externalIPs honours Local": {
			inputs: One(Input(Web().ExternalIPs("192.168.99.11").ExternalLocal(), all)),
			flows:  []flow{{"out", ext, local}, {"pod", ext, both}},
		},
	} {
		t.Run(name, c.run)
	}
}

func TestTerminatingFlows(t *testing.T) {
	const vip, lb = "172.30.0.41:80", "1.2.3.4:80"
	const p1, p2, p3, p4, p5 = "10.180.0.1", "10.180.0.2", "10.180.0.3", "10.180.0.4", "10.180.1.5"
	local := func() *ServiceBuilder { return Web().LoadBalancer("1.2.3.4").ExternalLocal() }
	for name, c := range map[string]flowCase{
		"D1 ready ones everywhere": {
			inputs: One(Input(local(), WebSlice().
				Ready(p1, Here).Ready(p2, Here).Terminating(p3, Here).Unready(p4, Here).Ready(p5, There))),
			flows: []flow{
				{"pod", vip, "10.180.0.1:80 10.180.0.2:80 10.180.1.5:80"},
				{"out", lb, "10.180.0.1:80 10.180.0.2:80"},
			},
		},
		"D2 local ones terminate": {
			inputs: One(Input(local(), WebSlice().
				Terminating(p2, Here).Terminating(p3, Here).Unready(p4, Here).Ready(p5, There))),
			flows: []flow{{"pod", vip, "10.180.1.5:80"}, {"out", lb, "10.180.0.2:80 10.180.0.3:80"}},
		},
		"D3 only a remote one terminates": {
			inputs: One(Input(local(), WebSlice().Terminating(p5, There))),
			flows:  []flow{{"pod", vip, "10.180.1.5:80"}, {"out", lb, "DROP"}},
		},
		"hairpin of a terminating one": {
			inputs: One(Input(local(), WebSlice().Terminating(p1, Here))),
			flows:  []flow{{p1, vip, "10.180.0.1:80 snat"}},
		},
		"D4 unready only": {
			inputs: One(Input(local(), WebSlice().Unready(p4, Here).Unready(p5, There))),
			flows:  []flow{{"pod", vip, "REJECT"}, {"out", lb, "REJECT"}},
		},
		"D5 Cluster, all terminate": {
			inputs: One(Input(Web().LoadBalancer("1.2.3.4"), WebSlice().
				Terminating(p2, Here).Terminating(p3, Here).Unready(p4, There).Terminating(p5, There))),
			flows: []flow{
				{"pod", vip, "10.180.0.2:80 10.180.0.3:80 10.180.1.5:80"},
				{"out", lb, "10.180.0.2:80 10.180.0.3:80 10.180.1.5:80 snat"},
			},
		},
		"D6 published although terminating": {
			inputs: One(Input(local(), WebSlice().Endpoint(p1, Here, true, true, true).Terminating(p5, There))),
			flows:  []flow{{"pod", vip, "10.180.0.1:80"}, {"out", lb, "10.180.0.1:80"}},
		},
	} {
		t.Run(name, c.run)
	}
}
