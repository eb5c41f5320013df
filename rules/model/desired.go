// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"maps"
	"net/netip"
)

// Desired is everything that a node has to program.
type Desired struct {
	Node NodeSettings

	// Frontends are keyed by Frontend.Key.
	Frontends map[FrontendKey]*Frontend

	// ClusterIPs are the addresses of the frontends of KindClusterIP. Traffic to one of
	// them that matches no frontend is rejected.
	ClusterIPs map[netip.Addr]struct{}

	// LocalEndpoints are the addresses of endpoints on this node: only these can be both
	// the client and the endpoint of a connection (hairpin).
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
