// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ProxyMode names a dataplane.
//
// +kubebuilder:validation:Enum=Auto;IPVS;NFTables;IPTables;Userspace
type ProxyMode string

// The modes.
const (
	ModeAuto      ProxyMode = "Auto"
	ModeIPVS      ProxyMode = "IPVS"
	ModeNFTables  ProxyMode = "NFTables"
	ModeIPTables  ProxyMode = "IPTables"
	ModeUserspace ProxyMode = "Userspace"
)

// IPVSOptions are the parameters of the IPVS mode, see ipvsadm(8).
//
// +kubebuilder:validation:XValidation:rule="!has(self.schedulerFlags) || self.schedulerFlags.all(f, f.startsWith(self.scheduler + '-'))",message="`schedulerFlags` must belong to `scheduler`: sh-port and sh-fallback to sh, mh-port and mh-fallback to mh",fieldPath=.schedulerFlags
type IPVSOptions struct {
	// scheduler is the IPVS scheduling algorithm of every virtual server:
	// rr (round robin), wrr (weighted rr), lc (least connections), wlc (weighted
	// lc), lblc and lblcr (locality-based lc, the latter with replication),
	// sh (source hashing), dh (destination hashing), sed (shortest expected
	// delay), nq (never queue), mh (Maglev hashing), fo (weighted fail-over),
	// ovf (weighted overflow).
	// +kubebuilder:validation:Enum=rr;wrr;lc;wlc;lblc;lblcr;sh;dh;sed;nq;mh;fo;ovf
	// +kubebuilder:default=rr
	// +optional
	Scheduler string `json:"scheduler,omitempty"`

	// schedulerFlags are flags of the scheduler: sh-port and mh-port hash the
	// source port too, sh-fallback and mh-fallback skip unusable endpoints.
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:Enum=sh-port;sh-fallback;mh-port;mh-fallback
	// +listType=set
	// +optional
	SchedulerFlags []string `json:"schedulerFlags,omitempty"`

	// strictARP sets arp_ignore=1 and arp_announce=2, so that the node does not
	// answer ARP for the virtual addresses. MetalLB in layer 2 mode needs it.
	// +kubebuilder:default=false
	// +optional
	StrictARP *bool `json:"strictARP,omitempty"`

	// excludeCIDRs are address ranges whose virtual servers are managed by other
	// programs and are never changed.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="self.all(c, isCIDR(c))",message="each of `excludeCIDRs` must be a CIDR such as 192.0.2.0/24 or 2001:db8::/64"
	// +listType=set
	// +optional
	ExcludeCIDRs []string `json:"excludeCIDRs,omitempty"`

	// tcpTimeoutSeconds is the idle timeout of TCP connections; 0 keeps the kernel's value.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2678400
	// +optional
	TCPTimeoutSeconds int32 `json:"tcpTimeoutSeconds,omitempty"`

	// tcpFinTimeoutSeconds is the timeout of TCP connections after a FIN; 0 keeps the kernel's value.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2678400
	// +optional
	TCPFinTimeoutSeconds int32 `json:"tcpFinTimeoutSeconds,omitempty"`

	// udpTimeoutSeconds is the idle timeout of UDP flows; 0 keeps the kernel's value.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2678400
	// +optional
	UDPTimeoutSeconds int32 `json:"udpTimeoutSeconds,omitempty"`

	// drainTimeoutSeconds is how long a removed endpoint keeps its open connections.
	// It is deleted earlier if it has none left; 0: it is deleted at once.
	// +kubebuilder:default=900
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=604800
	// +optional
	DrainTimeoutSeconds *int32 `json:"drainTimeoutSeconds,omitempty"`

	// readBackSeconds is the period in which the virtual servers in the kernel are
	// compared with the desired ones: the kernel does not notify about their changes.
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	// +optional
	ReadBackSeconds int32 `json:"readBackSeconds,omitempty"`
}

// AffinityPolicy selects the source of the session affinity.
//
// +kubebuilder:validation:Enum=FromService;ClientIP
type AffinityPolicy string

// The affinity policies.
const (
	// AffinityFromService uses each Service's own sessionAffinity.
	AffinityFromService AffinityPolicy = "FromService"
	// AffinityClientIP forces client affinity for every Service.
	AffinityClientIP AffinityPolicy = "ClientIP"
)

// SessionAffinityOptions configure whether a client keeps its endpoint.
type SessionAffinityOptions struct {
	// policy is FromService (each Service's sessionAffinity is used) or ClientIP
	// (every Service gets client affinity).
	// +kubebuilder:default=FromService
	// +optional
	Policy AffinityPolicy `json:"policy,omitempty"`

	// timeoutSeconds is the affinity timeout of Services without one.
	// +kubebuilder:default=10800
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	// +optional
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`
}

// Keywords of nodePort.addresses besides CIDRs.
const (
	// NodePortPrimary selects the addresses in the Node's status.
	NodePortPrimary = "Primary"
	// NodePortAll selects every local address except loopback.
	NodePortAll = "All"
	// NodePortLocalhost selects 127.0.0.1 (TCP over IPv4 only).
	NodePortLocalhost = "Localhost"
)

// DeletionPolicy says what happens to a node that no ProxyConfig selects any more.
//
// +kubebuilder:validation:Enum=Keep;Cleanup
type DeletionPolicy string

// The policies of deletion.
const (
	DeletionKeep    DeletionPolicy = "Keep"
	DeletionCleanup DeletionPolicy = "Cleanup"
)

// ExternalIPPolicy says whether externalIPs of Services are programmed.
//
// +kubebuilder:validation:Enum=Allow;Deny
type ExternalIPPolicy string

// The policies of external IPs.
const (
	ExternalIPAllow ExternalIPPolicy = "Allow"
	ExternalIPDeny  ExternalIPPolicy = "Deny"
)

// ExternalIPOptions select which spec.externalIPs of Services are programmed.
//
// +kubebuilder:validation:XValidation:rule="self.policy == 'Allow' || !has(self.allowedCIDRs) || size(self.allowedCIDRs) == 0",message="`allowedCIDRs` has no effect with `policy: Deny`: remove it, or set `policy: Allow`",fieldPath=.allowedCIDRs
type ExternalIPOptions struct {
	// policy is Allow or Deny. A user who can create a Service can take over the
	// traffic to any address outside the cluster with spec.externalIPs
	// (CVE-2020-8554), so it is Deny by default, as in Kubernetes 1.40.
	// +kubebuilder:default=Deny
	// +optional
	Policy ExternalIPPolicy `json:"policy,omitempty"`

	// allowedCIDRs restricts Allow to addresses in these ranges; empty: all
	// addresses.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="self.all(c, isCIDR(c))",message="each of `allowedCIDRs` must be a CIDR such as 198.51.100.0/24 or 2001:db8::/64"
	// +listType=set
	// +optional
	AllowedCIDRs []string `json:"allowedCIDRs,omitempty"`
}

// NodePortOptions configure the addresses of node ports, and their clients.
type NodePortOptions struct {
	// addresses on which node ports are reachable: Primary (the addresses in the
	// Node's status), All (every local address except loopback), Localhost
	// (127.0.0.1, TCP), or CIDRs that select local addresses.
	// +kubebuilder:default={"Primary"}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:XValidation:rule="self.all(a, a in ['Primary', 'All', 'Localhost'] || isCIDR(a))",message="each of `addresses` must be Primary, All, Localhost, or a CIDR such as 192.0.2.0/24"
	// +listType=set
	// +optional
	Addresses []string `json:"addresses,omitempty"`

	// sourceRanges are the CIDRs of the clients that may use node ports; empty: all
	// clients. Packets of others are dropped, as with loadBalancerSourceRanges of a
	// Service. Processes of the node may use its own node ports, and Pods count by their
	// address. A family without a CIDR has no allowed clients.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="self.all(c, isCIDR(c))",message="each of `sourceRanges` must be a CIDR such as 203.0.113.0/24 or 2001:db8::/64"
	// +listType=set
	// +optional
	SourceRanges []string `json:"sourceRanges,omitempty"`
}

// MasqueradeOptions configure which traffic gets the node's address as its source.
type MasqueradeOptions struct {
	// all also masquerades traffic from Pods of this node to a ClusterIP.
	// +kubebuilder:default=false
	// +optional
	All *bool `json:"all,omitempty"`
}

// LocalTrafficDetection is how a node detects traffic of its own Pods.
//
// +kubebuilder:validation:Enum=NodeCIDR;ClusterCIDR;BridgeInterface;InterfaceNamePrefix
type LocalTrafficDetection string

// The ways to detect local traffic.
const (
	DetectNodeCIDR            LocalTrafficDetection = "NodeCIDR"
	DetectClusterCIDR         LocalTrafficDetection = "ClusterCIDR"
	DetectBridgeInterface     LocalTrafficDetection = "BridgeInterface"
	DetectInterfaceNamePrefix LocalTrafficDetection = "InterfaceNamePrefix"
)

// LocalTrafficOptions configure how a node detects traffic of its own Pods.
//
// +kubebuilder:validation:XValidation:rule="(self.detect == 'ClusterCIDR') == (has(self.clusterCIDRs) && size(self.clusterCIDRs) > 0)",message="`clusterCIDRs` must be set with `detect: ClusterCIDR`, and only then",fieldPath=.clusterCIDRs
// +kubebuilder:validation:XValidation:rule="(self.detect in ['BridgeInterface', 'InterfaceNamePrefix']) == (has(self.interface) && size(self.interface) > 0)",message="`interface` must be set with `detect: BridgeInterface` (its name) or `detect: InterfaceNamePrefix` (the prefix), and only then",fieldPath=.interface
type LocalTrafficOptions struct {
	// detect is NodeCIDR (sources in the node's Pod CIDRs), ClusterCIDR (sources
	// in `clusterCIDRs`), BridgeInterface (arriving through the bridge `interface`)
	// or InterfaceNamePrefix (arriving through a link whose name starts with
	// `interface`).
	// +kubebuilder:default=NodeCIDR
	// +optional
	Detect LocalTrafficDetection `json:"detect,omitempty"`

	// clusterCIDRs are the cluster's Pod ranges, for `detect: ClusterCIDR`.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="self.all(c, isCIDR(c))",message="each of `clusterCIDRs` must be a CIDR such as 10.244.0.0/16"
	// +listType=set
	// +optional
	ClusterCIDRs []string `json:"clusterCIDRs,omitempty"`

	// interface is the name of a link, or the prefix of a name, see `detect`. The
	// kernel allows 15 characters.
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[^/\s]*$`
	// +optional
	Interface string `json:"interface,omitempty"`
}

// ConntrackOptions are the parameters of connection tracking, as in kube-proxy's
// linux.conntrack. An absent field keeps the kernel's value.
type ConntrackOptions struct {
	// maxPerCore is the maximum number of tracked connections per CPU core; the
	// kernel's limit is only ever raised. 0 does not change the limit.
	// +kubebuilder:default=32768
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1048576
	// +optional
	MaxPerCore *int32 `json:"maxPerCore,omitempty"`

	// min is the lower bound of the maximum number of tracked connections,
	// regardless of `maxPerCore` unless that is 0.
	// +kubebuilder:default=131072
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16777216
	// +optional
	Min *int32 `json:"min,omitempty"`

	// tcpEstablishedTimeoutSeconds is how long an idle TCP connection is kept. 0 does
	// not change the node's timeout, here and below.
	// +kubebuilder:default=86400
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2678400
	// +optional
	TCPEstablishedTimeoutSeconds *int32 `json:"tcpEstablishedTimeoutSeconds,omitempty"`

	// tcpCloseWaitTimeoutSeconds is how long a half-closed TCP connection is kept.
	// +kubebuilder:default=3600
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2678400
	// +optional
	TCPCloseWaitTimeoutSeconds *int32 `json:"tcpCloseWaitTimeoutSeconds,omitempty"`

	// tcpBeLiberal makes the kernel mark only RST packets outside the window as
	// invalid, see nf_conntrack_tcp_be_liberal.
	// +optional
	TCPBeLiberal *bool `json:"tcpBeLiberal,omitempty"`

	// udpTimeoutSeconds is how long an unanswered UDP flow is kept.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2678400
	// +optional
	UDPTimeoutSeconds *int32 `json:"udpTimeoutSeconds,omitempty"`

	// udpStreamTimeoutSeconds is how long an answered UDP flow is kept.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2678400
	// +optional
	UDPStreamTimeoutSeconds *int32 `json:"udpStreamTimeoutSeconds,omitempty"`
}

// MassRemovalOptions limit how many endpoints of Services a node gives up in a short time. What
// is beyond it stays programmed until the apiserver shows that the Services or endpoints are
// gone, which takes a second or two if they are. ServiceRuleSlices that are gone without the
// controller's mark are held in any case.
type MassRemovalOptions struct {
	// maxPercent is the largest part that may go, in percent of the most endpoints that there
	// were within `windowSeconds`. Endpoints that replace others do not count. 100 holds
	// nothing that the controller has written.
	// +kubebuilder:default=50
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	MaxPercent int32 `json:"maxPercent,omitempty"`

	// minEndpoints is the number of endpoints, of all Services, from which on `maxPercent` counts.
	// Of fewer any number may go.
	// +kubebuilder:default=100
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	MinEndpoints int32 `json:"minEndpoints,omitempty"`

	// windowSeconds is the time in which at most `maxPercent` may go.
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	// +optional
	WindowSeconds int32 `json:"windowSeconds,omitempty"`
}
