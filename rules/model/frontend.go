// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package model defines the rules of Services: what a node has to program (Desired) and
// what changed in it (Delta). A dataplane renders Frontends and decides nothing.
//
// The packages beside it are the only ones that decide what a Service means:
//
//	compile  Service + EndpointSlices  -> ServiceRuleSlices   (controller)
//	resolve  NodeRuleSet + slices      -> Frontends, Delta    (agent)
//	flows    Frontends, a flow         -> whether it is stale (agent)
//
// compile decides what does not depend on the node. resolve only filters by the node: its
// endpoints, its zone, its addresses. They have no clients, no clock and no state except
// that of resolve.Table.
package model

import (
	"iter"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Protocol is an IP protocol number.
type Protocol uint8

// The protocols of Service ports.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// ProtocolOf returns the number of a Service port's protocol, 0 if unknown. An
// empty protocol is TCP, as in the Service API.
func ProtocolOf(p corev1.Protocol) Protocol {
	switch p {
	case corev1.ProtocolTCP, "":
		return TCP
	case corev1.ProtocolUDP:
		return UDP
	case corev1.ProtocolSCTP:
		return SCTP
	}
	return 0
}

// String returns the protocol's name in lower case, as nft and ipvsadm print it.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

// FrontendKey is the address, protocol and port of a Frontend. Node ports have the
// unspecified address (0.0.0.0 or ::), which stands for those of the node's addresses that
// NodeSettings names.
type FrontendKey struct {
	Address  netip.Addr
	Protocol Protocol
	Port     uint16
}

// IsNodePort says whether the key stands for a node port.
func (k FrontendKey) IsNodePort() bool { return k.Address.IsUnspecified() }

// NodePort returns the key of the node port that an address and port may belong to.
func (k FrontendKey) NodePort() FrontendKey {
	k.Address = Unspecified(FamilyOf(k.Address))
	return k
}

// String returns for example "10.96.0.10:53/udp".
func (k FrontendKey) String() string {
	return netip.AddrPortFrom(k.Address, k.Port).String() + "/" + k.Protocol.String()
}

// Compare orders keys by address, protocol and port.
func (k FrontendKey) Compare(o FrontendKey) int {
	if c := k.Address.Compare(o.Address); c != 0 {
		return c
	}
	if k.Protocol != o.Protocol {
		return int(k.Protocol) - int(o.Protocol)
	}
	return int(k.Port) - int(o.Port)
}

// Kind is the kind of address that a Frontend answers on.
type Kind string

// The kinds of Frontends.
const (
	KindClusterIP    Kind = "ClusterIP"
	KindExternalIP   Kind = "ExternalIP"
	KindLoadBalancer Kind = "LoadBalancer"
	KindNodePort     Kind = "NodePort"
)

// ServiceID names the rules of a Service in one address family.
type ServiceID struct {
	Namespace, Name string
	Family          corev1.IPFamily
}

// String returns for example "default/web (IPv4)".
func (id ServiceID) String() string {
	return id.Namespace + "/" + id.Name + " (" + string(id.Family) + ")"
}

// Frontend is an address and port that a Service answers on, with everything a
// dataplane needs to know about it.
type Frontend struct {
	Key      FrontendKey
	Kind     Kind
	Service  ServiceID
	PortName string

	// Created is when the Service was created, in seconds since 1970; 0: unknown. It counts
	// only where two Services claim the same key, and is no part of what is programmed.
	Created int64

	// Internal is how traffic of this node's own Pods and processes is handled.
	Internal Backend

	// External is how all other traffic is handled. It equals Internal unless the external
	// traffic policy is Local.
	External Backend

	// Serving are all endpoints that may keep their existing flows, whatever the policies
	// say about new ones, sorted. It is set for UDP only, because the kernel cannot see
	// when a UDP flow ends.
	Serving []Endpoint

	// AffinityTimeoutSeconds is how long a client keeps its endpoint after its last new
	// connection; 0: no session affinity.
	AffinityTimeoutSeconds int32

	// PortKey is the same for all frontends of a Service's port: the key of the first one,
	// which has the cluster IP. The frontends share their endpoints, by Backend.Local, and
	// their clients with session affinity. If another Service wins that key, they share
	// nothing, see resolve.Table. Zero stands for Key.
	PortKey FrontendKey

	// Ports is how many ports the Service has with frontends on this node, rounded up to a
	// power of two, so that one more port rarely changes the others. A mode that bounds
	// the endpoints of a Service divides the bound by it, see EndpointsEach: so the choice
	// does not depend on how many of the ports are programmed yet.
	Ports int

	// Restricted says that only Sources may use the frontend; packets of others are
	// dropped. With no Sources everyone is denied. A node port has no Sources: those of
	// all node ports are NodeSettings.NodePortSources.
	Restricted bool
	Sources    []netip.Prefix
}

// Home returns the key of the state that the frontends of a port share.
func (f *Frontend) Home() FrontendKey {
	if f.PortKey == (FrontendKey{}) {
		return f.Key
	}
	return f.PortKey
}

// Verdict is what happens to a packet.
type Verdict string

// The verdicts.
const (
	// Forward sends the packet to one of the endpoints.
	Forward Verdict = "Forward"
	// Reject answers TCP with a reset and the rest with ICMP port unreachable.
	Reject Verdict = "Reject"
	// Drop does not answer.
	Drop Verdict = "Drop"
)

// Masquerade says which packets get the node's address as their source. A packet that goes
// back to the endpoint it came from always gets it.
type Masquerade string

// The masquerade decisions.
const (
	// MasqueradeNever keeps the source address.
	MasqueradeNever Masquerade = "Never"
	// MasqueradeUnlessPod keeps the source address of this node's Pods only.
	MasqueradeUnlessPod Masquerade = "UnlessPod"
	// MasqueradeAlways replaces every source address.
	MasqueradeAlways Masquerade = "Always"
)

// Backend is a verdict and, with Forward, the endpoints to choose from (sorted,
// distinct, at least one).
type Backend struct {
	Verdict    Verdict
	Masquerade Masquerade
	Endpoints  []Endpoint

	// Local says which of the two lists of the port Endpoints is: the endpoints on this
	// node, or those for cluster-wide traffic.
	Local bool
}

// Endpoint is the address and port of an endpoint.
type Endpoint = netip.AddrPort

// Unspecified returns the address that stands for all of a family.
func Unspecified(family corev1.IPFamily) netip.Addr {
	if family == corev1.IPv4Protocol {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// Equal says whether two frontends are the same in everything that is programmed; either
// may be nil.
func (f *Frontend) Equal(o *Frontend) bool {
	if f == nil || o == nil {
		return f == o
	}
	return f.Key == o.Key && f.Kind == o.Kind && f.Service == o.Service && f.PortName == o.PortName &&
		f.Internal.Equal(o.Internal) && f.External.Equal(o.External) && EqualEndpoints(f.Serving, o.Serving) &&
		f.AffinityTimeoutSeconds == o.AffinityTimeoutSeconds && f.PortKey == o.PortKey && f.Ports == o.Ports &&
		f.Restricted == o.Restricted && slices.Equal(f.Sources, o.Sources)
}

// ExternalDiffers says whether traffic from outside has another backend than that of the
// node and its Pods.
func (f *Frontend) ExternalDiffers() bool { return !f.External.Equal(f.Internal) }

// View is one of the two backends of a frontend.
type View int

// The views.
const (
	InternalView View = iota // of the node and its Pods
	ExternalView             // of all others
	Views                    // their number
)

// Views yields the backends by view. The external one is yielded only if it differs.
func (f *Frontend) Views() iter.Seq2[View, Backend] {
	return func(yield func(View, Backend) bool) {
		if yield(InternalView, f.Internal) && f.ExternalDiffers() {
			yield(ExternalView, f.External)
		}
	}
}

// Equal says whether two backends are the same.
func (b Backend) Equal(o Backend) bool {
	return b.Verdict == o.Verdict && b.Masquerade == o.Masquerade && b.Local == o.Local && EqualEndpoints(b.Endpoints, o.Endpoints)
}

// EqualEndpoints says whether two lists are equal. Many frontends share one list and keep
// it while it does not change; then the elements need not be compared.
func EqualEndpoints(a, b []Endpoint) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}
