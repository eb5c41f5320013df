// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Objects that the controller writes have the label LabelManagedBy with the value
// ControllerName, which is also its field manager.
const (
	LabelManagedBy = "app.kubernetes.io/managed-by"
	ControllerName = "fairlead-controller"
)

// Labels of every ServiceRuleSlice: the namespace and the name of its Service.
const (
	LabelServiceNamespace = "fairlead.dev/service-namespace"
	LabelServiceName      = "fairlead.dev/service-name"
)

// AnnotationServiceUID is the annotation of every ServiceRuleSlice with the UID of its
// Service. Agents need it for events on the Service.
const AnnotationServiceUID = "fairlead.dev/service-uid"

// AnnotationObsolete is the annotation of a ServiceRuleSlice that the controller is about to
// delete, with the value "true". Agents remove the rules of such a slice at once. They hold
// those of a slice that is deleted without it.
const AnnotationObsolete = "fairlead.dev/obsolete"

// ServiceRuleSlice holds the compiled rules of one Service for one address
// family: its frontends and its endpoints. It is the same for every node. Its name is
// NAMESPACE.SERVICE-v4-PART or NAMESPACE.SERVICE-v6-PART. It is cluster-scoped, so that no
// right in one namespace allows to redirect the Services of others.
// Readiness, the fallback to terminating endpoints and the usability of topology
// hints are already decided in it; a node only selects its own endpoints, those
// of its zone, and its own addresses.
//
// A Service with many endpoints has several slices, called parts. The hash of an
// endpoint's address selects its part, so one changed endpoint changes one part.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName={servicerules,srs},categories=fairlead
// +kubebuilder:printcolumn:name="Namespace",type=string,JSONPath=`.spec.serviceNamespace`
// +kubebuilder:printcolumn:name="Service",type=string,JSONPath=`.spec.serviceName`
// +kubebuilder:printcolumn:name="Family",type=string,JSONPath=`.spec.addressFamily`
// +kubebuilder:printcolumn:name="Cluster-IP",type=string,JSONPath=`.spec.clusterIP`
// +kubebuilder:printcolumn:name="Ports",type=string,JSONPath=`.spec.ports[*].port`
// +kubebuilder:printcolumn:name="Endpoints",type=string,JSONPath=`.spec.endpoints[*].address`,priority=1
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.spec.digest`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ServiceRuleSlice struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the compiled rules. The controller replaces it as a whole.
	// +structType=atomic
	// +required
	Spec ServiceRuleSliceSpec `json:"spec,omitzero"`
}

// ServiceRuleSliceList is a list of ServiceRuleSlices.
//
// +kubebuilder:object:root=true
type ServiceRuleSliceList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// items are the ServiceRuleSlices.
	Items []ServiceRuleSlice `json:"items"`
}

// TrafficPolicy selects all endpoints (Cluster) or only those on the node that
// received the traffic (Local).
//
// +kubebuilder:validation:Enum=Cluster;Local
type TrafficPolicy string

// The traffic policies.
const (
	TrafficPolicyCluster TrafficPolicy = "Cluster"
	TrafficPolicyLocal   TrafficPolicy = "Local"
)

// ServiceRuleSliceSpec is the compiled rules of a Service and a family.
//
// +kubebuilder:validation:XValidation:rule="self.part < self.parts",message="`part` must be less than `parts`",fieldPath=.part
type ServiceRuleSliceSpec struct {
	// serviceNamespace is the namespace of the Service.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	ServiceNamespace string `json:"serviceNamespace,omitempty"`

	// serviceName is the name of the Service.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	ServiceName string `json:"serviceName,omitempty"`

	// serviceCreated is when the Service was created. Of two Services with the same
	// address and port, both for example as an external IP, the older one has it.
	// +optional
	ServiceCreated metav1.Time `json:"serviceCreated,omitzero"`

	// addressFamily is IPv4 or IPv6.
	// +kubebuilder:validation:Enum=IPv4;IPv6
	// +required
	AddressFamily corev1.IPFamily `json:"addressFamily,omitempty"`

	// part is the number of this part, from 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Part int32 `json:"part"`

	// parts is the number of parts, a power of two.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65536
	// +required
	Parts int32 `json:"parts,omitempty"`

	// clusterIP is the Service's virtual address in this family.
	// +kubebuilder:validation:MaxLength=39
	// +optional
	ClusterIP string `json:"clusterIP,omitempty"`

	// externalIPs are the Service's external IPs.
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=39
	// +listType=atomic
	// +optional
	ExternalIPs []string `json:"externalIPs,omitempty"`

	// loadBalancerIPs are the load balancer IPs whose traffic arrives at the node with
	// that IP as its destination.
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=39
	// +listType=atomic
	// +optional
	LoadBalancerIPs []string `json:"loadBalancerIPs,omitempty"`

	// loadBalancerSources, if set, are the only sources that can reach
	// loadBalancerIPs.
	// +optional
	LoadBalancerSources *SourceRanges `json:"loadBalancerSources,omitempty"`

	// externalTrafficPolicy applies to node ports, externalIPs and
	// loadBalancerIPs.
	// +kubebuilder:default=Cluster
	// +optional
	ExternalTrafficPolicy TrafficPolicy `json:"externalTrafficPolicy,omitempty"`

	// internalTrafficPolicy applies to clusterIP.
	// +kubebuilder:default=Cluster
	// +optional
	InternalTrafficPolicy TrafficPolicy `json:"internalTrafficPolicy,omitempty"`

	// affinityTimeoutSeconds is the timeout of ClientIP affinity; 0: no affinity.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	// +optional
	AffinityTimeoutSeconds int32 `json:"affinityTimeoutSeconds,omitempty"`

	// healthCheckNodePort is the port on which each node reports to load balancers
	// whether it has local endpoints; 0: none.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +optional
	HealthCheckNodePort int32 `json:"healthCheckNodePort,omitempty"`

	// ports are the ports of the Service.
	// +kubebuilder:validation:MaxItems=10000
	// +listType=atomic
	// +optional
	Ports []RulePort `json:"ports,omitempty"`

	// endpoints are the endpoints of this part, sorted by address.
	// +kubebuilder:validation:MaxItems=4000
	// +listType=atomic
	// +optional
	Endpoints []RuleEndpoint `json:"endpoints,omitempty"`

	// digest is 64 bits of the SHA-256 of the rest of this spec, in hexadecimal.
	// +kubebuilder:validation:MaxLength=16
	// +required
	Digest string `json:"digest,omitempty"`
}

// SourceRanges is a list of allowed sources.
type SourceRanges struct {
	// allowed are the allowed CIDRs; empty denies all sources.
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MaxLength=43
	// +listType=atomic
	// +optional
	Allowed []string `json:"allowed,omitempty"`
}

// RulePort is a port of a Service.
type RulePort struct {
	// name is the name of the port; empty only if it is the only one.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Name string `json:"name,omitempty"`

	// protocol is TCP, UDP or SCTP.
	// +kubebuilder:validation:Enum=TCP;UDP;SCTP
	// +required
	Protocol corev1.Protocol `json:"protocol,omitempty"`

	// port is the port on the virtual addresses.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +required
	Port int32 `json:"port,omitempty"`

	// nodePort is the port on the nodes' addresses; 0: none.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +optional
	NodePort int32 `json:"nodePort,omitempty"`
}

// EndpointState determines for which traffic an endpoint is used.
//
// +kubebuilder:validation:Enum=Ready;Terminating;TerminatingLocal;Draining
type EndpointState string

// The endpoint states. An endpoint in no state is not in a slice.
const (
	// EndpointReady is used for all traffic.
	EndpointReady EndpointState = "Ready"

	// EndpointTerminating is terminating and still serving. It is used for all
	// traffic, because the port has no ready endpoint in the whole cluster.
	EndpointTerminating EndpointState = "Terminating"

	// EndpointTerminatingLocal is terminating and still serving. It is used only by
	// its own node for traffic with policy Local, because the node has no ready
	// endpoint of the port (KEP-1669).
	EndpointTerminatingLocal EndpointState = "TerminatingLocal"

	// EndpointDraining is terminating and still serving. It is not used for new
	// traffic, because there are ready endpoints. Its existing flows stay. Only UDP
	// needs this state: without it a flow that never ends would move to another
	// endpoint too early, or never.
	EndpointDraining EndpointState = "Draining"
)

// RuleEndpoint is an endpoint of a Service.
type RuleEndpoint struct {
	// address is the IP address, in its canonical form.
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=39
	// +required
	Address string `json:"address,omitempty"`

	// targetPorts are the endpoint's ports, one for each of the Service's
	// `ports` in their order; 0: the endpoint does not serve that port.
	// +kubebuilder:validation:MaxItems=10000
	// +listType=atomic
	// +required
	TargetPorts []int32 `json:"targetPorts,omitempty"`

	// nodeName is the node of the endpoint; empty if it is not on a node.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	NodeName string `json:"nodeName,omitempty"`

	// state determines for which traffic the endpoint is used; empty means Ready.
	// +optional
	State EndpointState `json:"state,omitempty"`

	// forNodes are the nodes whose clients should use this endpoint. It is set on
	// all ready endpoints of a port or on none.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	// +optional
	ForNodes []string `json:"forNodes,omitempty"`

	// forZones are the zones whose clients should use this endpoint. It is set on
	// all ready endpoints of a port or on none.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=atomic
	// +optional
	ForZones []string `json:"forZones,omitempty"`
}
