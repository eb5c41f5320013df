// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeRuleSet is the desired state of one node: the effective policy, and the
// properties of the node that rules depend on. It has the name of the Node and is
// owned by it. The rules themselves are in the ServiceRuleSlices, which all nodes
// share. In the status the node's agent reports what is programmed.
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
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.appliedRevision`,priority=1
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.revision.phase`,priority=1
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.status.rulesDigest`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].reason`,priority=1
// +kubebuilder:printcolumn:name="Health",type=string,JSONPath=`.status.conditions[?(@.type=="Degraded")].reason`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeRuleSet struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata. The name is the node's.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the desired state of the node apart from the ServiceRuleSlices. The
	// controller replaces it as a whole.
	// +structType=atomic
	// +required
	Spec NodeRuleSetSpec `json:"spec,omitzero"`

	// status is the observed state of the node, as reported by its agent.
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

// NodeRuleSetSpec is the desired state of a node apart from the ServiceRuleSlices.
type NodeRuleSetSpec struct {
	// policy is the effective ProxyConfig of this node.
	// +required
	Policy PolicyReference `json:"policy,omitzero"`

	// revision is the name of the ControllerRevision, in the controller's namespace, that has
	// the policy; empty: an older controller has written this object.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Revision string `json:"revision,omitempty"`

	// assignedTime is when the node was given the revision, or was given it again. With it the
	// revision is on trial: an agent that does not verify it in time returns to the one that it
	// has verified last. Absent: the revision is programmed without a way back.
	// +optional
	AssignedTime *metav1.Time `json:"assignedTime,omitempty"`

	// nodeDeadlineSeconds is how long the agent may take to verify the revision, from when it
	// sees it; absent: 60.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	// +optional
	NodeDeadlineSeconds *int32 `json:"nodeDeadlineSeconds,omitempty"`

	// checks must pass before the agent has verified the revision.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=name
	// +optional
	Checks []RolloutCheck `json:"checks,omitempty"`

	// mode is the mode of the policy.
	// +required
	Mode ProxyMode `json:"mode,omitempty"`

	// fallbackModes are tried in order if the node does not support `mode`.
	// +kubebuilder:validation:MaxItems=3
	// +listType=atomic
	// +optional
	FallbackModes []ProxyMode `json:"fallbackModes,omitempty"`

	// node holds the properties of the node that rules depend on.
	// +required
	Node NodeFacts `json:"node,omitzero"`

	// ipvs holds the parameters of the IPVS mode.
	// +optional
	IPVS *IPVSOptions `json:"ipvs,omitempty"`

	// sessionAffinity configures whether a client keeps its endpoint.
	// +optional
	SessionAffinity SessionAffinityOptions `json:"sessionAffinity,omitzero"`

	// nodePort configures the addresses of node ports, and the clients that may use them.
	// +optional
	NodePort NodePortOptions `json:"nodePort,omitzero"`

	// externalIPs selects which spec.externalIPs of Services are programmed.
	// +optional
	ExternalIPs ExternalIPOptions `json:"externalIPs,omitzero"`

	// masquerade configures which traffic gets the node's address as its source.
	// +optional
	Masquerade MasqueradeOptions `json:"masquerade,omitzero"`

	// localTraffic configures how the node detects traffic of its own Pods.
	// +optional
	LocalTraffic LocalTrafficOptions `json:"localTraffic,omitzero"`

	// conntrack holds the parameters of connection tracking.
	// +optional
	Conntrack *ConntrackOptions `json:"conntrack,omitempty"`

	// serviceCIDRs are the ranges that the cluster allocates ClusterIPs from. Traffic
	// to unallocated addresses in them is dropped: otherwise it could loop between
	// the node and its default gateway.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=43
	// +listType=atomic
	// +optional
	ServiceCIDRs []string `json:"serviceCIDRs,omitempty"`

	// massRemoval limits how many endpoints of Services the node gives up in a short time;
	// absent: as a ProxyConfig by default.
	// +optional
	MassRemoval MassRemovalOptions `json:"massRemoval,omitzero"`

	// kubeProxy is what the node does about kube-proxy; absent: kube-proxy is left alone.
	// +optional
	KubeProxy KubeProxyAction `json:"kubeProxy,omitempty"`

	// deletionPolicy is that of the policy.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// cleanUpSince is when no ProxyConfig selected the node any more, of which the last one
	// had the deletionPolicy Cleanup. The agent then removes everything that it has
	// programmed, and reports Programmed False with the reason CleanedUp. Absent: a
	// ProxyConfig selects the node.
	// +optional
	CleanUpSince *metav1.Time `json:"cleanUpSince,omitempty"`
}

// PolicyReference is a reference to a generation of a ProxyConfig.
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

// NodeFacts are the properties of a node that rules depend on. No other field
// of the Node has an effect on its rules.
type NodeFacts struct {
	// zone is the node's label topology.kubernetes.io/zone; empty: no zone.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Zone string `json:"zone,omitempty"`

	// addresses are the node's internal IP addresses, the primary one of each
	// family first; external ones follow.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=39
	// +listType=atomic
	// +optional
	Addresses []string `json:"addresses,omitempty"`

	// departing is true if the node is being deleted, or the cluster autoscaler is
	// about to delete it. The agent's /healthz then fails, so that load balancers
	// drain the node; traffic that arrives is still forwarded (KEP-3836).
	// +optional
	Departing bool `json:"departing,omitempty"`

	// podCIDRs are the Pod CIDRs of the node, at most one of each family.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=43
	// +listType=atomic
	// +optional
	PodCIDRs []string `json:"podCIDRs,omitempty"`
}

// NodeRuleSetStatus is the observed state of a node, as reported by its agent.
type NodeRuleSetStatus struct {
	// conditions are Accepted, Programmed and Degraded, and KubeProxyReplaced where
	// spec.kubeProxy is set.
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

	// appliedRevision is the spec.revision that is programmed. While another one is being
	// programmed, or cannot be, it stays the one before.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	AppliedRevision string `json:"appliedRevision,omitempty"`

	// revision is how far the agent is with spec.revision.
	// +optional
	Revision *RevisionStatus `json:"revision,omitempty"`

	// mode is the active mode: never Auto; empty before the first sync.
	// +optional
	Mode ProxyMode `json:"mode,omitempty"`

	// capabilities lists which of the agent's modes this node supports. The agent
	// probes them when it starts, and again when a policy needs a mode that was
	// not supported.
	// +listType=map
	// +listMapKey=mode
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Capabilities []ModeCapability `json:"capabilities,omitempty"`

	// limitations lists what the policy or Services need and this node does not support
	// in its mode; everything else is programmed. It is updated at most once a minute.
	// +listType=map
	// +listMapKey=reason
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Limitations []Limitation `json:"limitations,omitempty"`

	// programmed counts the rules in the kernel.
	// +optional
	Programmed *ProgrammedCounts `json:"programmed,omitempty"`

	// repairs counts how often rules were modified externally and have been
	// restored; absent if never. It is updated at most once a minute.
	// +optional
	Repairs *RepairCounts `json:"repairs,omitempty"`

	// held counts the removals that are held, because the apiserver still has the Services
	// or endpoints; absent if none are. It is updated at most once a minute.
	// +optional
	Held *HeldCounts `json:"held,omitempty"`

	// kubeProxy is what the agent finds of kube-proxy on the node; absent: it has not looked
	// yet. It looks once a minute, or less often where that takes long; more often while the node
	// takes over from kube-proxy or gives back to it.
	// +optional
	KubeProxy *KubeProxyStatus `json:"kubeProxy,omitempty"`

	// rulesDigest is the XOR of the digests of all ServiceRuleSlices that are
	// programmed, in hexadecimal. Two nodes with the same digest and the same
	// policy run the same rules. It is updated at most once a minute.
	// +kubebuilder:validation:MaxLength=16
	// +optional
	RulesDigest string `json:"rulesDigest,omitempty"`
}

// ModeCapability describes whether a node supports a mode.
type ModeCapability struct {
	// mode is the mode.
	// +required
	Mode ProxyMode `json:"mode"`

	// supported is true if the node can run the mode.
	// +required
	Supported bool `json:"supported"`

	// message describes what is missing for the mode.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Message string `json:"message,omitempty"`

	// variant is the iptables variant that the IPTables mode uses on this node, nft or
	// legacy, and the version of iptables.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Variant string `json:"variant,omitempty"`

	// schedulers are the IPVS schedulers that the kernel has or can load.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=16
	// +listType=set
	// +optional
	Schedulers []string `json:"schedulers,omitempty"`
}

// Limitation is something that a node does not support in its mode.
type Limitation struct {
	// reason is a CamelCase word that identifies the limitation.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	Reason string `json:"reason"`

	// message describes what is not programmed, why, and how to resolve it.
	// +kubebuilder:validation:MaxLength=512
	// +required
	Message string `json:"message"`

	// frontends is the number of affected frontends; absent if the limitation affects
	// the whole node.
	// +optional
	Frontends int32 `json:"frontends,omitempty"`

	// services are some of the affected Services, as namespace/name, sorted.
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=128
	// +listType=atomic
	// +optional
	Services []string `json:"services,omitempty"`
}

// RepairCounts counts repairs of externally modified rules.
type RepairCounts struct {
	// count is how often rules were modified externally and have been restored since
	// the agent started.
	Count int64 `json:"count"`

	// lastTime is the time of the last repair.
	// +optional
	LastTime metav1.Time `json:"lastTime,omitzero"`
}

// HeldCounts counts removals that are held.
type HeldCounts struct {
	// slices is the number of ServiceRuleSlices that are gone or changed in the API, and
	// stay in effect on the node as they were.
	Slices int32 `json:"slices"`

	// endpoints is the number of endpoints that the node would lose.
	Endpoints int32 `json:"endpoints"`
}

// ProgrammedCounts counts the rules in a node's kernel.
type ProgrammedCounts struct {
	// slices is the number of ServiceRuleSlices.
	Slices int32 `json:"slices"`

	// services is the number of Services; a dual-stack Service counts once.
	Services int32 `json:"services"`

	// frontends is the number of frontends: pairs of address and port of Services,
	// including node ports.
	Frontends int32 `json:"frontends"`

	// endpoints is the number of endpoints (address and port) of all Services.
	Endpoints int32 `json:"endpoints"`
}
