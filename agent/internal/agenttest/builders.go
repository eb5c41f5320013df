// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package agenttest builds API objects for tests of the agent.
package agenttest

import (
	"k8s.io/apimachinery/pkg/types"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestNode is the name of the node.
const TestNode = "node-1"

// Web returns the slice of a Service with one port and the given endpoints.
func Web(vip string, endpoints ...string) *v1alpha1.ServiceRuleSliceSpec {
	spec := v1alpha1.ServiceRuleSliceSpec{
		ServiceName: "web", AddressFamily: corev1.IPv4Protocol, Parts: 1, ClusterIP: vip,
		Ports: []v1alpha1.RulePort{{Protocol: corev1.ProtocolTCP, Port: 80}},
	}
	for _, e := range endpoints {
		spec.Endpoints = append(spec.Endpoints, v1alpha1.RuleEndpoint{Address: e, TargetPorts: []int32{8080}})
	}
	spec.Digest = model.Digest("default", "web-v4-0", spec)
	return &spec
}

// WebName is the name of the slice that Web returns.
var WebName = types.NamespacedName{Namespace: "default", Name: "web-v4-0"}

// NodeSpec is the spec of the node's NodeRuleSet.
func NodeSpec() v1alpha1.NodeRuleSetSpec {
	return v1alpha1.NodeRuleSetSpec{
		Policy: v1alpha1.PolicyReference{Name: "default", Generation: 1},
		Mode:   v1alpha1.ModeNFTables,
		Node:   v1alpha1.NodeFacts{Addresses: []string{"192.0.2.1"}, PodCIDRs: []string{"10.244.1.0/24"}},
	}
}

// Listed returns slices as the API lists them.
func Listed(specs ...*v1alpha1.ServiceRuleSliceSpec) map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec {
	all := map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec{}
	for _, s := range specs {
		all[types.NamespacedName{Namespace: "default", Name: s.ServiceName + "-v4-0"}] = s
	}
	return all
}
