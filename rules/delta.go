// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
)

// NodeSettings are the parameters of a node that do not belong to a frontend.
type NodeSettings struct {
	// NodePortAddresses are the node's addresses that node ports answer on.
	// NodePortCIDRs adds those of the local addresses that lie in a range;
	// 0.0.0.0/0 and ::/0 stand for every local address but loopback.
	NodePortAddresses []netip.Addr
	NodePortCIDRs     []netip.Prefix

	// NodePortLocalhost says whether node ports answer on 127.0.0.1 (TCP).
	NodePortLocalhost bool

	// Traffic of this node's Pods is what comes from PodCIDRs, or arrives through
	// PodInterface (a whole name, or a prefix if PodInterfacePrefix). With neither
	// no traffic is known as local.
	PodCIDRs           []netip.Prefix
	PodInterface       string
	PodInterfacePrefix bool

	// ServiceCIDRs are the ranges of cluster IPs. Traffic to an address in them
	// that is no cluster IP, that no frontend takes, and that the node does not
	// have is dropped.
	ServiceCIDRs []netip.Prefix

	// IPVS are the parameters of the IPVS mode.
	IPVS IPVSSettings
}

// AnswersNodePorts says whether node ports answer on one of the node's addresses.
// No range means the loopback: that is NodePortLocalhost.
func (s *NodeSettings) AnswersNodePorts(local netip.Addr) bool {
	return !local.IsLoopback() && (slices.Contains(s.NodePortAddresses, local) ||
		slices.ContainsFunc(s.NodePortCIDRs, func(p netip.Prefix) bool { return p.Contains(local) }))
}

// NodePortsOn returns the addresses that node ports answer on. local lists the
// node's addresses, and is not called where no range has to be compared with them.
func (s *NodeSettings) NodePortsOn(local func() ([]netip.Addr, error)) (map[netip.Addr]struct{}, error) {
	candidates := s.NodePortAddresses
	if len(s.NodePortCIDRs) > 0 {
		more, err := local()
		if err != nil {
			return nil, fmt.Errorf("node ports: %w", err)
		}
		candidates = append(slices.Clone(candidates), more...)
	}
	out := map[netip.Addr]struct{}{}
	for _, a := range candidates {
		if s.AnswersNodePorts(a) {
			out[a] = struct{}{}
		}
	}
	return out, nil
}

// Desired is everything that a node shall program.
type Desired struct {
	Node NodeSettings

	// Frontends are keyed by Frontend.Key.
	Frontends map[FrontendKey]*Frontend

	// ClusterIPs are the addresses of the frontends of KindClusterIP. Traffic to
	// one of them that no frontend takes is rejected.
	ClusterIPs map[netip.Addr]struct{}

	// LocalEndpoints are the addresses of endpoints on this node: only these can
	// meet themselves through a frontend (hairpin).
	LocalEndpoints map[netip.Addr]struct{}
}

// NewDesired returns an empty Desired.
func NewDesired() Desired {
	return Desired{
		Frontends:      map[FrontendKey]*Frontend{},
		ClusterIPs:     map[netip.Addr]struct{}{},
		LocalEndpoints: map[netip.Addr]struct{}{},
	}
}

// Clone returns a Desired with maps of its own. Frontends are shared, not copied.
func (d Desired) Clone() Desired {
	out := NewDesired()
	out.Node = d.Node
	maps.Copy(out.Frontends, d.Frontends)
	maps.Copy(out.ClusterIPs, d.ClusterIPs)
	maps.Copy(out.LocalEndpoints, d.LocalEndpoints)
	return out
}

// Delta is the difference between two Desired.
type Delta struct {
	// Node is set when the node's settings changed.
	Node *NodeSettings

	// Frontends are the changed frontends, ordered by key.
	Frontends []Change

	ClusterIPs     AddrChanges
	LocalEndpoints AddrChanges
}

// Change is a changed frontend. Old is nil when it was added, New is nil when
// it was removed.
type Change struct {
	Key      FrontendKey
	Old, New *Frontend
}

// AddrChanges are changes of a set of addresses, each list sorted.
type AddrChanges struct {
	Added, Removed []netip.Addr
}

// Empty says whether the delta changes nothing.
func (d *Delta) Empty() bool {
	return d.Node == nil && len(d.Frontends) == 0 &&
		len(d.ClusterIPs.Added)+len(d.ClusterIPs.Removed) == 0 &&
		len(d.LocalEndpoints.Added)+len(d.LocalEndpoints.Removed) == 0
}

// Diff returns the delta that makes b of a.
func Diff(a, b Desired) Delta {
	var d Delta
	if !reflect.DeepEqual(a.Node, b.Node) {
		node := b.Node
		d.Node = &node
	}
	for key, old := range a.Frontends {
		if now := b.Frontends[key]; !old.Equal(now) {
			d.Frontends = append(d.Frontends, Change{Key: key, Old: old, New: now})
		}
	}
	for key, now := range b.Frontends {
		if a.Frontends[key] == nil {
			d.Frontends = append(d.Frontends, Change{Key: key, New: now})
		}
	}
	slices.SortFunc(d.Frontends, func(x, y Change) int { return x.Key.Compare(y.Key) })
	d.ClusterIPs = diffAddrs(a.ClusterIPs, b.ClusterIPs)
	d.LocalEndpoints = diffAddrs(a.LocalEndpoints, b.LocalEndpoints)
	return d
}

// Apply changes desired by a delta. Frontends are shared, not copied.
func (d *Delta) Apply(desired *Desired) {
	if d.Node != nil {
		desired.Node = *d.Node
	}
	for _, c := range d.Frontends {
		if c.New == nil {
			delete(desired.Frontends, c.Key)
		} else {
			desired.Frontends[c.Key] = c.New
		}
	}
	d.ClusterIPs.apply(desired.ClusterIPs)
	d.LocalEndpoints.apply(desired.LocalEndpoints)
}

func (c *AddrChanges) apply(set map[netip.Addr]struct{}) {
	for _, a := range c.Removed {
		delete(set, a)
	}
	for _, a := range c.Added {
		set[a] = struct{}{}
	}
}

func diffAddrs(a, b map[netip.Addr]struct{}) AddrChanges {
	missing := func(from, in map[netip.Addr]struct{}) []netip.Addr {
		var out []netip.Addr
		for addr := range maps.Keys(from) {
			if _, ok := in[addr]; !ok {
				out = append(out, addr)
			}
		}
		slices.SortFunc(out, netip.Addr.Compare)
		return out
	}
	return AddrChanges{Added: missing(b, a), Removed: missing(a, b)}
}

// Equal says whether two frontends are the same in everything; either may be nil.
func (f *Frontend) Equal(o *Frontend) bool {
	if f == nil || o == nil {
		return f == o
	}
	return f.Key == o.Key && f.Kind == o.Kind && f.Service == o.Service && f.PortName == o.PortName &&
		f.Internal.Equal(o.Internal) && f.External.Equal(o.External) && slices.Equal(f.Serving, o.Serving) &&
		f.AffinityTimeoutSeconds == o.AffinityTimeoutSeconds && f.PortKey == o.PortKey &&
		f.Restricted == o.Restricted && slices.Equal(f.Sources, o.Sources)
}

// Equal says whether two backends are the same.
func (b Backend) Equal(o Backend) bool {
	return b.Verdict == o.Verdict && b.Masquerade == o.Masquerade && b.Local == o.Local && slices.Equal(b.Endpoints, o.Endpoints)
}
