// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeRuleSet is what one node shall program: the policy in force on the node
// and the node's facts that rules depend on. It has the name of the Node and is
// owned by it. The rules themselves are in the ServiceRuleSlices, which all
// nodes share. In its status the node's agent reports what is programmed.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=nrs,categories=fairlead
// +kubebuilder:printcolumn:name="Config",type=string,JSONPath=`.spec.policy.name`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.status.mode`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Services",type=integer,JSONPath=`.status.programmed.services`
// +kubebuilder:printcolumn:name="Frontends",type=integer,JSONPath=`.status.programmed.frontends`
// +kubebuilder:printcolumn:name="Endpoints",type=integer,JSONPath=`.status.programmed.endpoints`
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.status.rulesDigest`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].reason`,priority=1
// +kubebuilder:printcolumn:name="Health",type=string,JSONPath=`.status.conditions[?(@.type=="Degraded")].reason`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeRuleSet struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata. The name is the node's.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what the node shall program besides the ServiceRuleSlices. It has
	// one writer, which replaces it as a whole.
	// +structType=atomic
	// +required
	Spec NodeRuleSetSpec `json:"spec,omitzero"`

	// status is what the node's agent reports.
	// +kubebuilder:default={conditions: {{type: "Accepted", status: "Unknown", reason: "Pending", message: "Waiting for the agent", lastTransitionTime: "1970-01-01T00:00:00Z"},{type: "Programmed", status: "Unknown", reason: "Pending", message: "Waiting for the agent", lastTransitionTime: "1970-01-01T00:00:00Z"},{type: "Degraded", status: "Unknown", reason: "Pending", message: "Waiting for the agent", lastTransitionTime: "1970-01-01T00:00:00Z"}}}
	// +optional
	Status NodeRuleSetStatus `json:"status,omitzero"`
}

// NodeRuleSetList is a list of NodeRuleSets.
//
// +kubebuilder:object:root=true
type NodeRuleSetList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// items are the NodeRuleSets.
	Items []NodeRuleSet `json:"items"`
}

// NodeRuleSetSpec is what a node shall program besides the ServiceRuleSlices.
type NodeRuleSetSpec struct {
	// policy names the ProxyConfig in force on this node.
	// +required
	Policy PolicyReference `json:"policy,omitzero"`

	// mode is the mode that the policy asks for.
	// +required
	Mode ProxyMode `json:"mode,omitempty"`

	// fallbackModes are tried in order where the kernel cannot run `mode`.
	// +kubebuilder:validation:MaxItems=3
	// +listType=atomic
	// +optional
	FallbackModes []ProxyMode `json:"fallbackModes,omitempty"`

	// node holds the facts of the node that rules depend on.
	// +required
	Node NodeFacts `json:"node,omitzero"`

	// ipvs holds the parameters of the IPVS mode.
	// +optional
	IPVS *IPVSOptions `json:"ipvs,omitempty"`

	// sessionAffinity says whether clients stick to an endpoint.
	// +optional
	SessionAffinity SessionAffinityOptions `json:"sessionAffinity,omitzero"`

	// nodePort says on which addresses node ports answer.
	// +optional
	NodePort NodePortOptions `json:"nodePort,omitzero"`

	// masquerade says which traffic gets the node's address as its source.
	// +optional
	Masquerade MasqueradeOptions `json:"masquerade,omitzero"`

	// localTraffic says how the node recognises traffic of its own Pods.
	// +optional
	LocalTraffic LocalTrafficOptions `json:"localTraffic,omitzero"`

	// conntrack holds the parameters of connection tracking.
	// +optional
	Conntrack *ConntrackOptions `json:"conntrack,omitempty"`

	// serviceCIDRs are the ranges that the cluster takes cluster IPs from. Traffic
	// to an address in them that no Service has is dropped: it must not leave the
	// node by the default route, and come back, and leave again.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=43
	// +listType=atomic
	// +optional
	ServiceCIDRs []string `json:"serviceCIDRs,omitempty"`
}

// PolicyReference names a ProxyConfig in one of its generations.
type PolicyReference struct {
	// name is the name of the ProxyConfig.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`

	// generation is the generation of the ProxyConfig that was compiled.
	// +required
	Generation int64 `json:"generation,omitempty"`
}

// NodeFacts are the facts of a node that rules depend on. Nothing else of a
// Node object has an influence on its rules.
type NodeFacts struct {
	// zone is the node's label topology.kubernetes.io/zone; empty: no zone.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Zone string `json:"zone,omitempty"`

	// addresses are the node's internal IP addresses, the primary one of each
	// family first; external ones follow.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=39
	// +listType=atomic
	// +optional
	Addresses []string `json:"addresses,omitempty"`

	// departing says that the node is being deleted, or that the cluster
	// autoscaler is about to: the agent's /healthz then tells load balancers to
	// send it no more traffic, while what arrives is still forwarded (KEP-3836).
	// +optional
	Departing bool `json:"departing,omitempty"`

	// podCIDRs are the ranges of the node's Pods, at most one of each family.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=43
	// +listType=atomic
	// +optional
	PodCIDRs []string `json:"podCIDRs,omitempty"`
}

// NodeRuleSetStatus is what a node's agent reports.
type NodeRuleSetStatus struct {
	// conditions are Accepted, Programmed and Degraded.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that is programmed.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// policy is the policy that is programmed.
	// +optional
	Policy *PolicyReference `json:"policy,omitempty"`

	// mode is the mode in force: never Auto; empty before the first programming.
	// +optional
	Mode ProxyMode `json:"mode,omitempty"`

	// capabilities are what this node can run, of the modes that its agent has.
	// They are found out once the agent has started, and anew when a policy asks
	// for what was missing.
	// +listType=map
	// +listMapKey=mode
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Capabilities []ModeCapability `json:"capabilities,omitempty"`

	// limitations are what the policy or Services ask for and this node does not do in
	// its mode; all else is programmed. They are refreshed at most once a minute.
	// +listType=map
	// +listMapKey=reason
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Limitations []Limitation `json:"limitations,omitempty"`

	// programmed counts what is in the kernel.
	// +optional
	Programmed *ProgrammedCounts `json:"programmed,omitempty"`

	// repairs counts external changes of the rules in the kernel that the agent has
	// undone; absent if there were none. It is refreshed at most once a minute.
	// +optional
	Repairs *RepairCounts `json:"repairs,omitempty"`

	// rulesDigest is the XOR of the digests of all ServiceRuleSlices that are
	// programmed, in hexadecimal. Two nodes with the same digest and the same
	// policy run the same rules. It is refreshed at most once a minute.
	// +kubebuilder:validation:MaxLength=16
	// +optional
	RulesDigest string `json:"rulesDigest,omitempty"`
}

// ModeCapability is what a node's kernel can do of a mode.
type ModeCapability struct {
	// mode is the mode.
	// +required
	Mode ProxyMode `json:"mode"`

	// supported says whether the node can run the mode.
	// +required
	Supported bool `json:"supported"`

	// message says what is missing for the mode.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Message string `json:"message,omitempty"`

	// variant is the one of iptables that the IPTables mode uses on this node, nft or
	// legacy, and the version of its programs.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Variant string `json:"variant,omitempty"`

	// schedulers are those of the IPVS mode that the kernel has or can load.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=16
	// +listType=set
	// +optional
	Schedulers []string `json:"schedulers,omitempty"`
}

// Limitation is something that a node does not do in its mode.
type Limitation struct {
	// reason says in one word what it is.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	Reason string `json:"reason"`

	// message says what is not in force, why, and what helps.
	// +kubebuilder:validation:MaxLength=512
	// +required
	Message string `json:"message"`

	// frontends is the number of addresses and ports that it concerns; absent if it
	// concerns the node as a whole.
	// +optional
	Frontends int32 `json:"frontends,omitempty"`

	// services are some of the Services that it concerns, as namespace/name, sorted.
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=128
	// +listType=atomic
	// +optional
	Services []string `json:"services,omitempty"`
}

// RepairCounts counts what the agent had to repair.
type RepairCounts struct {
	// count is how often, since the agent started, rules were modified externally and
	// have been restored.
	Count int64 `json:"count"`

	// lastTime is when it did so last.
	// +optional
	LastTime metav1.Time `json:"lastTime,omitzero"`
}

// ProgrammedCounts counts what is in a node's kernel.
type ProgrammedCounts struct {
	// slices is the number of ServiceRuleSlices.
	Slices int32 `json:"slices"`

	// services is the number of Services, a dual-stack Service counting once.
	Services int32 `json:"services"`

	// frontends is the number of addresses and ports (virtual addresses and node
	// ports) that answer.
	Frontends int32 `json:"frontends"`

	// endpoints is the number of endpoints (address and port) of all Services.
	Endpoints int32 `json:"endpoints"`
}
