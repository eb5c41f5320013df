// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// inside recognizes internal clients: the Pods of this node and its own processes. It also
// has the clients that may use restricted node ports. It is immutable once it is in use.
type inside struct {
	podCIDRs        []netip.Prefix
	nodePortSources []netip.Prefix

	// addresses are those of the node's links. Packets of the node's processes to an
	// address of a link arrive through lo, but the kernel reports that link.
	addresses map[netip.Addr]struct{}

	// loopback is the index of the device lo: only packets of the node's own processes
	// arrive through it. podLinks are the links that Pods are recognized by, sorted.
	loopback int
	podLinks []int
}

// link is a link of the node.
type link struct {
	name  string
	index int
}

// newInside returns the internal clients of a node with some links.
func newInside(s model.NodeSettings, links []link, addresses []netdev.Address) *inside {
	in := &inside{podCIDRs: s.PodCIDRs, nodePortSources: s.NodePortSources, addresses: make(map[netip.Addr]struct{}, len(addresses))}
	for _, a := range addresses {
		in.addresses[a.Addr] = struct{}{}
	}
	for _, l := range links {
		switch {
		case l.name == loopbackName:
			in.loopback = l.index
		case leadsToPods(s, l.name):
			in.podLinks = append(in.podLinks, l.index)
		}
	}
	slices.Sort(in.podLinks)
	return in
}

// leadsToPods says whether packets that arrive by a link of this name come from Pods.
func leadsToPods(s model.NodeSettings, name string) bool {
	if s.PodInterface == "" {
		return false
	}
	return name == s.PodInterface || s.PodInterfacePrefix && strings.HasPrefix(name, s.PodInterface)
}

// has says whether a client is internal, by its address and the link that its packet
// arrived by. The kernel accepts no packet from outside whose source is an address of the
// node (IPv4), or sends the answer to the node itself (IPv6).
func (in *inside) has(client netip.Addr, link int) bool {
	if in.hasProcess(client, link) {
		return true
	}
	if _, pod := slices.BinarySearch(in.podLinks, link); pod {
		return true
	}
	return slices.ContainsFunc(in.podCIDRs, func(p netip.Prefix) bool { return p.Contains(client) })
}

// hasProcess says whether a client is a process of the node.
func (in *inside) hasProcess(client netip.Addr, link int) bool {
	_, own := in.addresses[client]
	return own || link == in.loopback
}

// allows says whether a client may use a frontend.
func (in *inside) allows(f *model.Frontend, client netip.Addr, link int) bool {
	if !f.Restricted {
		return true
	}
	sources := f.Sources
	if f.Key.IsNodePort() {
		if in.hasProcess(client, link) {
			return true
		}
		sources = in.nodePortSources
	}
	return slices.ContainsFunc(sources, func(p netip.Prefix) bool { return p.Contains(client) })
}

func (in *inside) equal(o *inside) bool {
	return o != nil && in.loopback == o.loopback && slices.Equal(in.podLinks, o.podLinks) &&
		slices.Equal(in.podCIDRs, o.podCIDRs) && slices.Equal(in.nodePortSources, o.nodePortSources) && maps.Equal(in.addresses, o.addresses)
}
