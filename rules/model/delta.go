// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
)

// Delta is the difference between two Desired.
type Delta struct {
	// Node is set when the node's settings changed.
	Node *NodeSettings

	// Frontends are the changed frontends, ordered by key.
	Frontends []Change

	ClusterIPs     AddrChanges
	LocalEndpoints AddrChanges
}

// Change is a changed frontend. Old is nil if it was added, New is nil if it was removed.
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

// Diff returns the delta that turns a into b.
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

// Apply applies the delta to desired. Frontends are shared, not copied.
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

// Inverse returns the delta that undoes this one, which is not applied to before yet.
func (d *Delta) Inverse(before Desired) Delta {
	inverse := Delta{ClusterIPs: d.ClusterIPs.inverse(before.ClusterIPs), LocalEndpoints: d.LocalEndpoints.inverse(before.LocalEndpoints)}
	if d.Node != nil {
		node := before.Node
		inverse.Node = &node
	}
	for _, c := range d.Frontends {
		inverse.Frontends = append(inverse.Frontends, Change{Key: c.Key, Old: c.New, New: before.Frontends[c.Key]})
	}
	return inverse
}

func (c *AddrChanges) inverse(before map[netip.Addr]struct{}) AddrChanges {
	present := func(a netip.Addr) bool { _, ok := before[a]; return ok }
	absent := func(a netip.Addr) bool { return !present(a) }
	return AddrChanges{Added: slices.DeleteFunc(slices.Clone(c.Removed), absent), Removed: slices.DeleteFunc(slices.Clone(c.Added), present)}
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
