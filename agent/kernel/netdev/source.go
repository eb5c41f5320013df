// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LocalRoute returns a route by a link that makes an address local to the node.
func LocalRoute(a netip.Addr, link int) netlink.Route {
	return netlink.Route{
		Dst:  &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())},
		Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: unix.RT_SCOPE_HOST, LinkIndex: link,
	}
}

// Source returns the IPv4 address that processes of the node connect to Services from: one
// of its own addresses, preferably one of the preferred ones. The zero value: there is none.
// The kernel would use the Service's address, which leaves the node when another mode
// replaces this one, although the connection goes on.
func Source(own, preferred map[netip.Addr]struct{}) netip.Addr {
	for _, addresses := range []map[netip.Addr]struct{}{preferred, own} {
		for _, a := range slices.SortedFunc(maps.Keys(addresses), netip.Addr.Compare) {
			if _, there := own[a]; there && a.Is4() && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
				return a
			}
		}
	}
	return netip.Addr{}
}
