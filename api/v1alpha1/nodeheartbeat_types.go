// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeHeartbeat shows that a node's agent runs: the agent renews it every 15 seconds while
// it follows the API. It has the name of the node, and is owned by the node's NodeRuleSet.
// A kind of its own, and not the status of the NodeRuleSet, because it is small.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=nhb
// +kubebuilder:printcolumn:name="Renewed",type=date,JSONPath=`.spec.renewTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeHeartbeat struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata. The name is the node's.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what the agent says.
	// +required
	Spec NodeHeartbeatSpec `json:"spec,omitzero"`
}

// NodeHeartbeatList is a list of NodeHeartbeats.
//
// +kubebuilder:object:root=true
type NodeHeartbeatList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// items are the NodeHeartbeats.
	Items []NodeHeartbeat `json:"items"`
}

// NodeHeartbeatSpec is what an agent says.
type NodeHeartbeatSpec struct {
	// renewTime is the time of the last renewal, by the clock of the node.
	// +required
	RenewTime metav1.Time `json:"renewTime,omitzero"`
}
