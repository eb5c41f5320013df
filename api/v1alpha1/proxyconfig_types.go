// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ProxyConfig is the service proxy policy of a set of nodes: the mode that programs
// the kernel, and its parameters.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=pxc,categories=fairlead
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`,priority=1
// +kubebuilder:printcolumn:name="Selected",type=integer,JSONPath=`.status.nodes.selected`
// +kubebuilder:printcolumn:name="Programmed",type=integer,JSONPath=`.status.nodes.programmed`
// +kubebuilder:printcolumn:name="Failing",type=integer,JSONPath=`.status.nodes.failing`
// +kubebuilder:printcolumn:name="NotReady",type=integer,JSONPath=`.status.nodes.notReady`
// +kubebuilder:printcolumn:name="Available",type=string,JSONPath=`.status.conditions[?(@.type=="Available")].status`
// +kubebuilder:printcolumn:name="Rollout",type=string,JSONPath=`.status.rollout.phase`,priority=1
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.status.targetRevision`,priority=1
// +kubebuilder:printcolumn:name="Stable",type=string,JSONPath=`.status.stableRevision`,priority=1
// +kubebuilder:printcolumn:name="Protected",type=string,JSONPath=`.status.conditions[?(@.type=="Protected")].status`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ProxyConfig struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the policy.
	// +required
	Spec ProxyConfigSpec `json:"spec,omitzero"`

	// status is the observed state of the policy, aggregated over its nodes.
	// +kubebuilder:default={conditions: {{type: "Accepted", status: "Unknown", reason: "Pending", message: "Waiting for the controller", lastTransitionTime: "1970-01-01T00:00:00Z"},{type: "Available", status: "Unknown", reason: "Pending", message: "Waiting for the controller", lastTransitionTime: "1970-01-01T00:00:00Z"},{type: "Progressing", status: "Unknown", reason: "Pending", message: "Waiting for the controller", lastTransitionTime: "1970-01-01T00:00:00Z"},{type: "Degraded", status: "Unknown", reason: "Pending", message: "Waiting for the controller", lastTransitionTime: "1970-01-01T00:00:00Z"},{type: "Protected", status: "Unknown", reason: "Pending", message: "Waiting for the controller", lastTransitionTime: "1970-01-01T00:00:00Z"}}}
	// +optional
	Status ProxyConfigStatus `json:"status,omitzero"`
}

// ProxyConfigList is a list of ProxyConfigs.
//
// +kubebuilder:object:root=true
type ProxyConfigList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// items are the ProxyConfigs.
	Items []ProxyConfig `json:"items"`
}

// ProxyConfigSpec is the desired state of a ProxyConfig.
//
// +kubebuilder:validation:XValidation:rule="!has(self.fallbackModes) || !self.fallbackModes.exists(m, m == 'Auto')",message="`fallbackModes` must not contain Auto: list the modes to try, e.g. [NFTables, IPTables]",fieldPath=.fallbackModes
// +kubebuilder:validation:XValidation:rule="!has(self.fallbackModes) || !self.fallbackModes.exists(m, m == self.mode)",message="`fallbackModes` must not repeat `mode`: remove it from the list",fieldPath=.fallbackModes
// +kubebuilder:validation:XValidation:rule="!has(self.fallbackModes) || size(self.fallbackModes) == 0 || self.mode != 'Auto'",message="`fallbackModes` has no effect with `mode: Auto`, which selects a mode itself: remove it, or set another `mode`",fieldPath=.fallbackModes
// +kubebuilder:validation:XValidation:rule="!has(self.ipvs) || self.mode == 'IPVS' || self.mode == 'Auto' || (has(self.fallbackModes) && self.fallbackModes.exists(m, m == 'IPVS'))",message="`ipvs` has no effect in this mode: remove it, set `mode: IPVS`, or add IPVS to `fallbackModes`",fieldPath=.ipvs
type ProxyConfigSpec struct {
	// nodeSelector selects the nodes of this policy by their labels. Empty
	// selects every node. If several ProxyConfigs select a node, the highest
	// `priority` wins, then the oldest object.
	// +optional
	NodeSelector *NodeSelector `json:"nodeSelector,omitempty"`

	// priority decides between several ProxyConfigs that select the same node:
	// the highest wins.
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=-1000000
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	Priority *int32 `json:"priority,omitempty"`

	// mode is the dataplane that programs the nodes' kernels. Auto uses the first of
	// NFTables, IPVS, IPTables that the node supports.
	// +kubebuilder:default=Auto
	// +optional
	Mode ProxyMode `json:"mode,omitempty"`

	// fallbackModes are tried in order on a node that does not support `mode`.
	// Empty: such a node keeps its rules and reports ModeUnsupported.
	// +kubebuilder:validation:MaxItems=3
	// +listType=set
	// +optional
	FallbackModes []ProxyMode `json:"fallbackModes,omitempty"`

	// ipvs holds the parameters of the IPVS mode.
	// +optional
	IPVS *IPVSOptions `json:"ipvs,omitempty"`

	// sessionAffinity configures whether a client keeps its first endpoint.
	// +kubebuilder:default={}
	// +optional
	SessionAffinity SessionAffinityOptions `json:"sessionAffinity,omitzero"`

	// nodePort configures the node addresses of node ports, and the clients that may use them.
	// +kubebuilder:default={}
	// +optional
	NodePort NodePortOptions `json:"nodePort,omitzero"`

	// externalIPs selects which spec.externalIPs of Services are programmed.
	// +kubebuilder:default={}
	// +optional
	ExternalIPs ExternalIPOptions `json:"externalIPs,omitzero"`

	// masquerade configures which traffic gets the node's address as its source.
	// +kubebuilder:default={}
	// +optional
	Masquerade MasqueradeOptions `json:"masquerade,omitzero"`

	// localTraffic configures how a node detects traffic of its own Pods.
	// +kubebuilder:default={detect: NodeCIDR}
	// +optional
	LocalTraffic LocalTrafficOptions `json:"localTraffic,omitzero"`

	// conntrack holds the parameters of connection tracking. The defaults are
	// kube-proxy's; 0 does not change a parameter of the node.
	// +kubebuilder:default={}
	// +optional
	Conntrack *ConntrackOptions `json:"conntrack,omitempty"`

	// massRemoval limits how many endpoints of Services nodes give up in a short time without
	// evidence that they are gone.
	// +kubebuilder:default={}
	// +optional
	MassRemoval MassRemovalOptions `json:"massRemoval,omitzero"`

	// deletionPolicy is what happens to a node when no ProxyConfig selects it any more:
	// Keep leaves the programmed rules, and the node follows Services as long as its agent
	// runs; Cleanup has the agent remove everything that it has programmed.
	// +kubebuilder:default=Keep
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// kubeProxy configures whether the nodes take over from kube-proxy, or give back to it.
	// Absent: kube-proxy is left alone, and may run on the same nodes.
	// +optional
	KubeProxy *KubeProxyOptions `json:"kubeProxy,omitempty"`

	// rollout configures how a changed policy reaches the nodes.
	// +kubebuilder:default={}
	// +optional
	Rollout RolloutOptions `json:"rollout,omitzero"`

	// revisionHistoryLimit is how many revisions that no node uses are kept. A revision is a
	// ControllerRevision in the controller's namespace that has what this policy programs: all
	// fields but nodeSelector, priority, massRemoval, deletionPolicy, kubeProxy.daemonSet, rollout
	// and this one. It is also how many ProxyRollouts that have ended are kept.
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	RevisionHistoryLimit *int32 `json:"revisionHistoryLimit,omitempty"`
}

// ProxyConfigStatus is the observed state of a policy, aggregated over its nodes.
type ProxyConfigStatus struct {
	// conditions are Accepted, Available, Progressing, Degraded and Protected; with
	// spec.kubeProxy also KubeProxyReplaced.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// targetRevision is the revision of the current spec.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	TargetRevision string `json:"targetRevision,omitempty"`

	// stableRevision is the last revision whose rollout has succeeded. Without rollouts it is
	// the last one that all nodes have programmed without being degraded. Nodes that are not ready, or have not reported yet, do not count. An agent that
	// is not ready counts as degraded.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	StableRevision string `json:"stableRevision,omitempty"`

	// rollout is the ProxyRollout of the target revision; absent: there is none.
	// +optional
	Rollout *RolloutSummary `json:"rollout,omitempty"`

	// nodes counts the nodes of this policy.
	// +optional
	Nodes *NodeCounts `json:"nodes,omitempty"`

	// failingNodes are the first ten nodes (by name) that do not run this policy.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=10
	// +optional
	FailingNodes []FailingNode `json:"failingNodes,omitempty"`

	// notReadyNodes are the first ten nodes (by name) whose agent does not report.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=10
	// +optional
	NotReadyNodes []NotReadyNode `json:"notReadyNodes,omitempty"`
}

// NodeCounts counts the nodes of a policy.
type NodeCounts struct {
	// selected is the number of nodes whose effective policy this is.
	Selected int32 `json:"selected"`

	// programmed is the number of those whose kernel has the desired rules.
	Programmed int32 `json:"programmed"`

	// failing is the number of those that report a failure.
	Failing int32 `json:"failing"`

	// notReady is the number of those whose agent has not reported for a minute, though
	// the node is ready. They do not count as programmed or failing: their kernels have the
	// rules they had.
	// +optional
	NotReady int32 `json:"notReady"`
}

// FailingNode is a node that does not run the policy, with the reason.
type FailingNode struct {
	// name is the name of the node.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// reason is the reason of the failing condition.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Reason string `json:"reason,omitempty"`

	// message is the message of the failing condition, at most 256 characters.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Message string `json:"message,omitempty"`
}

// NotReadyNode is a node whose agent does not report.
type NotReadyNode struct {
	// name is the name of the node.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// since is the time of the agent's last report; if it has not reported since then, the
	// time when the node became ready or was selected.
	Since metav1.Time `json:"since"`
}
