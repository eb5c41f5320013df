// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// flowCase is a cluster and the packets that are followed through it.
type flowCase struct {
	node   *nodeBuilder // nil: thisNode
	inputs []CompileInput
	flows  []flow
}

func (c flowCase) run(t *testing.T) {
	t.Helper()
	node := c.node
	if node == nil {
		node = thisNode()
	}
	table := tableOf(t, node.Node, c.inputs...)
	checkFlows(t, node.Node, table.Desired(), c.flows)
}

// Endpoints of the cases: l is local, r is remote.
const (
	l1, l2, r1, r2 = "10.180.0.1", "10.180.0.2", "10.180.1.1", "10.180.1.2"
)

// web is a Service 172.30.0.41:80 with endpoints on port 80.
func web() *serviceBuilder              { return svc("web").port("http", 80) }
func webSlice() *sliceBuilder           { return slice("web").port("http", 80) }
func one(i CompileInput) []CompileInput { return []CompileInput{i} }

func TestClusterIPFlows(t *testing.T) {
	const vip = "172.30.0.41:80"
	exposed := web().nodePort(3001).loadBalancer("1.2.3.4").externalIPs("192.168.99.11")
	for name, c := range map[string]flowCase{
		"C1 pod reaches the endpoint": {
			inputs: one(input(web(), webSlice().ready(l1, here))),
			flows:  []flow{{"pod", vip, "10.180.0.1:80"}},
		},
		"C2 hairpin": {
			inputs: one(input(web(), webSlice().ready(l1, here))),
			flows:  []flow{{l1, vip, "10.180.0.1:80 snat"}},
		},
		"C3 two endpoints": {
			inputs: one(input(web(), webSlice().ready(l1, here).ready(r1, there))),
			flows:  []flow{{"pod", vip, "10.180.0.1:80 10.180.1.1:80"}},
		},
		"C4 target port differs": {
			inputs: one(input(svc("web").port("https", 443), slice("web").port("https", 8443).ready(l1, here))),
			flows:  []flow{{"pod", "172.30.0.41:443", "10.180.0.1:8443"}},
		},
		"C5 protocols on one address are independent": {
			inputs: one(input(
				svc("dns").port("tcp", 53).port("udp", 53).protocol(corev1.ProtocolUDP).port("sctp", 53).protocol(corev1.ProtocolSCTP),
				slice("dns").port("tcp", 5353).port("udp", 53).protocol(corev1.ProtocolUDP).ready(l1, here),
				slice("dns").named("dns-2").port("sctp", 53).protocol(corev1.ProtocolSCTP).ready(r1, there))),
			flows: []flow{
				{"pod", "172.30.0.41:53", "10.180.0.1:5353"},
				{"pod", "172.30.0.41:53/udp", "10.180.0.1:53"},
				{"pod", "172.30.0.41:53/sctp", "10.180.1.1:53"},
			},
		},
		"C6 UDP to a port that is TCP only": {
			inputs: one(input(web(), webSlice().ready(l1, here))),
			flows:  []flow{{"pod", vip + "/udp", "REJECT"}},
		},
		"C7 port of another Service": {
			inputs: []CompileInput{
				input(web(), webSlice().ready(l1, here)),
				input(svc("other").ip("172.30.0.42").port("x", 81), slice("other").port("x", 81).ready(l1, here)),
			},
			flows: []flow{{"pod", "172.30.0.41:81", "REJECT"}, {"pod", "172.30.0.42:81", "10.180.0.1:81"}},
		},
		"C9 no endpoints, C10 slice gone again": {
			inputs: one(input(exposed)),
			flows: []flow{
				{"pod", vip, "REJECT"}, {"out", "192.168.99.11:80", "REJECT"},
				{"pod", "192.168.0.2:3001", "REJECT"}, {"out", "192.168.0.2:3001", "REJECT"},
				{"pod", "1.2.3.4:80", "REJECT"}, {"out", "1.2.3.4:80", "REJECT"},
			},
		},
		"C10 slice added": {
			inputs: one(input(exposed, webSlice().ready(l1, here))),
			flows:  []flow{{"pod", vip, "10.180.0.1:80"}, {"out", "1.2.3.4:80", "10.180.0.1:80 snat"}},
		},
		"C11 sloppy addresses": {
			inputs: one(input(web().ip("172.30.0.041"), webSlice().ready("10.180.00.001", here))),
			flows:  []flow{{"pod", vip, "10.180.0.1:80"}},
		},
	} {
		t.Run(name, c.run)
	}
}

func TestInternalPolicyFlows(t *testing.T) {
	const vip = "172.30.0.41:80"
	mixed := webSlice().ready(l1, here).ready(r1, there).ready(r2, there)
	for name, c := range map[string]flowCase{
		"I1 Cluster": {
			inputs: one(input(web(), mixed)),
			flows:  []flow{{"pod", vip, "10.180.0.1:80 10.180.1.1:80 10.180.1.2:80"}},
		},
		"I2 Local, one local": {
			inputs: one(input(web().internalLocal(), mixed)),
			flows:  []flow{{"pod", vip, "10.180.0.1:80"}},
		},
		"I3 Local, two local": {
			inputs: one(input(web().internalLocal(), webSlice().ready(l1, here).ready(l2, here).ready(r1, there))),
			flows:  []flow{{"pod", vip, "10.180.0.1:80 10.180.0.2:80"}},
		},
		"I4 Local, none local": {
			inputs: one(input(web().internalLocal(), webSlice().ready(r1, there))),
			flows:  []flow{{"pod", vip, "DROP"}, {"host", vip, "DROP"}, {"out", vip, "DROP"}},
		},
		"I4 Local, none anywhere": {
			inputs: one(input(web().internalLocal(), webSlice().unready(l1, here))),
			flows:  []flow{{"pod", vip, "REJECT"}},
		},
		"I5 Local does not concern node ports": {
			inputs: one(input(web().nodePort(3001).internalLocal(), mixed)),
			flows: []flow{
				{"pod", "192.168.0.2:3001", "10.180.0.1:80 10.180.1.1:80 10.180.1.2:80 snat"},
				{"pod", vip, "10.180.0.1:80"},
			},
		},
		"I6 Local, from outside to the ClusterIP": {
			inputs: one(input(web().internalLocal(), mixed)),
			flows:  []flow{{"out", vip, "10.180.0.1:80 snat"}, {"host", vip, "10.180.0.1:80 snat"}},
		},
	} {
		t.Run(name, c.run)
	}
}

func TestExternalPolicyFlows(t *testing.T) {
	const vip, np, lb, ext = "172.30.0.42:80", "192.168.0.2:3002", "5.6.7.8:80", "192.168.99.11:80"
	const both, local = "10.180.0.2:80 10.180.1.2:80", "10.180.0.2:80"
	exposed := func() *serviceBuilder {
		return web().ip("172.30.0.42").nodePort(3002).loadBalancer("5.6.7.8").externalIPs("192.168.99.11")
	}
	all := webSlice().ready(r2, there).ready(l2, here)
	remote := webSlice().ready(r2, there)
	for name, c := range map[string]flowCase{
		"E1-E9 Local": {
			inputs: one(input(exposed().externalLocal(), all)),
			flows: []flow{
				{"pod", vip, both}, {"pod", ext, both}, {"out", ext, local}, // E1-E3
				{"pod", lb, both}, {"out", lb, local}, // E4, E5
				{"pod", np, both}, {"out", np, local}, // E6, E7
				{"host", lb, both + " snat"}, {"host", np, both + " snat"}, // E8, E9
				{"host", ext, both + " snat"}, {"host", vip, both + " snat"}, {"out", vip, both + " snat"},
			},
		},
		"E10 Local, none local": {
			inputs: one(input(exposed().externalLocal(), remote)),
			flows: []flow{
				{"out", ext, "DROP"}, {"out", lb, "DROP"}, {"out", np, "DROP"},
				{"pod", ext, "10.180.1.2:80"}, {"pod", lb, "10.180.1.2:80"}, {"pod", np, "10.180.1.2:80"},
				{"host", ext, "10.180.1.2:80 snat"}, {"host", lb, "10.180.1.2:80 snat"}, {"host", np, "10.180.1.2:80 snat"},
				{"out", vip, "10.180.1.2:80 snat"},
			},
		},
		"E11 Local, no detector": {
			node:   thisNode().noDetector(),
			inputs: one(input(exposed().externalLocal(), all)),
			flows:  []flow{{"pod", lb, local}, {"host", lb, both + " snat"}, {"pod", vip, both}},
		},
		"K1 Cluster": {
			inputs: one(input(exposed(), all)),
			flows: []flow{
				{"pod", vip, both}, {"host", vip, both + " snat"}, {"out", vip, both + " snat"},
				{"pod", ext, both + " snat"}, {"host", ext, both + " snat"}, {"out", ext, both + " snat"},
				{"pod", lb, both + " snat"}, {"host", lb, both + " snat"}, {"out", lb, both + " snat"},
				{"pod", np, both + " snat"}, {"host", np, both + " snat"}, {"out", np, both + " snat"},
			},
		},
		"K2 masquerade all": {
			node:   thisNode().masqueradeAll(),
			inputs: one(input(exposed().externalLocal(), all)),
			flows:  []flow{{"pod", vip, both + " snat"}, {"out", lb, local}, {"pod", lb, both}},
		},
		"K3 no detector": {
			node:   thisNode().noDetector(),
			inputs: one(input(exposed(), all)),
			flows:  []flow{{"pod", vip, both}, {"host", vip, both}, {"out", vip, both}, {"pod", np, both + " snat"}},
		},
		"K3 no detector but masquerade all": {
			node:   thisNode().noDetector().masqueradeAll(),
			inputs: one(input(exposed(), all)),
			flows:  []flow{{"pod", vip, both + " snat"}, {"out", vip, both + " snat"}},
		},
		"ClusterIP type with externalIPs honours Local": {
			inputs: one(input(web().externalIPs("192.168.99.11").externalLocal(), all)),
			flows:  []flow{{"out", ext, local}, {"pod", ext, both}},
		},
	} {
		t.Run(name, c.run)
	}
}

func TestTerminatingFlows(t *testing.T) {
	const vip, lb = "172.30.0.41:80", "1.2.3.4:80"
	const p1, p2, p3, p4, p5 = "10.180.0.1", "10.180.0.2", "10.180.0.3", "10.180.0.4", "10.180.1.5"
	local := func() *serviceBuilder { return web().loadBalancer("1.2.3.4").externalLocal() }
	for name, c := range map[string]flowCase{
		"D1 ready ones everywhere": {
			inputs: one(input(local(), webSlice().
				ready(p1, here).ready(p2, here).terminating(p3, here).unready(p4, here).ready(p5, there))),
			flows: []flow{
				{"pod", vip, "10.180.0.1:80 10.180.0.2:80 10.180.1.5:80"},
				{"out", lb, "10.180.0.1:80 10.180.0.2:80"},
			},
		},
		"D2 local ones terminate": {
			inputs: one(input(local(), webSlice().
				terminating(p2, here).terminating(p3, here).unready(p4, here).ready(p5, there))),
			flows: []flow{{"pod", vip, "10.180.1.5:80"}, {"out", lb, "10.180.0.2:80 10.180.0.3:80"}},
		},
		"D3 only a remote one terminates": {
			inputs: one(input(local(), webSlice().terminating(p5, there))),
			flows:  []flow{{"pod", vip, "10.180.1.5:80"}, {"out", lb, "DROP"}},
		},
		"hairpin of a terminating one": {
			inputs: one(input(local(), webSlice().terminating(p1, here))),
			flows:  []flow{{p1, vip, "10.180.0.1:80 snat"}},
		},
		"D4 unready only": {
			inputs: one(input(local(), webSlice().unready(p4, here).unready(p5, there))),
			flows:  []flow{{"pod", vip, "REJECT"}, {"out", lb, "REJECT"}},
		},
		"D5 Cluster, all terminate": {
			inputs: one(input(web().loadBalancer("1.2.3.4"), webSlice().
				terminating(p2, here).terminating(p3, here).unready(p4, there).terminating(p5, there))),
			flows: []flow{
				{"pod", vip, "10.180.0.2:80 10.180.0.3:80 10.180.1.5:80"},
				{"out", lb, "10.180.0.2:80 10.180.0.3:80 10.180.1.5:80 snat"},
			},
		},
		"D6 published although terminating": {
			inputs: one(input(local(), webSlice().endpoint(p1, here, true, true, true).terminating(p5, there))),
			flows:  []flow{{"pod", vip, "10.180.0.1:80"}, {"out", lb, "10.180.0.1:80"}},
		},
	} {
		t.Run(name, c.run)
	}
}
