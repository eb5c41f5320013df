// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package agenttest builds API objects for tests of the agent.
package agenttest

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestNode is the name of the node.
const TestNode = "node-1"

// Web returns the slice of a Service with one port and the given endpoints.
func Web(vip string, endpoints ...string) *v1alpha1.ServiceRuleSliceSpec {
	spec := v1alpha1.ServiceRuleSliceSpec{
		ServiceNamespace: "default", ServiceName: "web", AddressFamily: corev1.IPv4Protocol, Parts: 1, ClusterIP: vip,
		Ports: []v1alpha1.RulePort{{Protocol: corev1.ProtocolTCP, Port: 80}},
	}
	for _, e := range endpoints {
		spec.Endpoints = append(spec.Endpoints, v1alpha1.RuleEndpoint{Address: e, TargetPorts: []int32{8080}})
	}
	spec.Digest = model.Digest(spec)
	return &spec
}

// WebName is the name of the slice that Web returns.
const WebName = "default.web-v4-0"

// Slice returns the slice with a spec as the controller and the apiserver write it.
func Slice(spec *v1alpha1.ServiceRuleSliceSpec) *v1alpha1.ServiceRuleSlice {
	id := model.ServiceOf(spec)
	return &v1alpha1.ServiceRuleSlice{Spec: *spec, ObjectMeta: metav1.ObjectMeta{
		Name: model.SliceName(id, spec.Part), Labels: model.SliceLabels(id),
		ManagedFields: []metav1.ManagedFieldsEntry{{
			Manager: v1alpha1.ControllerName, Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1",
			FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:app.kubernetes.io/managed-by":{}}},"f:spec":{}}`),
		}},
	}}
}

// NodeSpec is the spec of the node's NodeRuleSet.
func NodeSpec() v1alpha1.NodeRuleSetSpec {
	return v1alpha1.NodeRuleSetSpec{
		Policy: v1alpha1.PolicyReference{Name: "default", Generation: 1},
		Mode:   v1alpha1.ModeNFTables,
		Node:   v1alpha1.NodeFacts{Addresses: []string{"192.0.2.1"}, PodCIDRs: []string{"10.244.1.0/24"}},

		ExternalIPs: v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow},
	}
}

// Listed returns slices as the API lists them.
func Listed(specs ...*v1alpha1.ServiceRuleSliceSpec) map[string]*v1alpha1.ServiceRuleSliceSpec {
	all := map[string]*v1alpha1.ServiceRuleSliceSpec{}
	for _, s := range specs {
		all[model.SliceNameOf(s)] = s
	}
	return all
}
