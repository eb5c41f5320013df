// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package network builds the lab's network out of named network namespaces:
// nodes on a bridge behind a router, and one client outside. It touches no link,
// address, route or sysctl of the host's own namespace.
//
//	client ── outside0 [fabric: router] fabric0 (bridge) ──┬── control
//	                                                       ├── node-1
//	                                                       ├── node-2
//	                                                       └── node-3
package network

import (
	"fmt"
	"net/netip"
)

// DefaultPrefix starts the names of the lab's network namespaces.
const DefaultPrefix = "fl-"

// The lab's addresses. The nodes' network and the Pod ranges are private, the
// outside is made of ranges reserved for documentation.
var (
	nodesV4   = netip.MustParsePrefix("10.89.0.0/24")
	nodesV6   = netip.MustParsePrefix("fd00:89::/64")
	outsideV4 = netip.MustParsePrefix("198.51.100.0/24")
	outsideV6 = netip.MustParsePrefix("2001:db8:51::/64")

	// ServiceCIDRs are the ranges that the apiserver gives ClusterIPs from.
	ServiceCIDRs = []netip.Prefix{
		netip.MustParsePrefix("10.96.0.0/12"),
		netip.MustParsePrefix("fd00:96::/112"),
	}
)

// Host is a machine of the lab: a network namespace and its two addresses.
type Host struct {
	// Name is how the lab calls the machine: control, client, or a node's name.
	Name string
	// NetNSPath is the file that holds the machine's network namespace.
	NetNSPath string
	// IPv4 and IPv6 are the machine's addresses.
	IPv4, IPv6 netip.Addr
}

// Node is one node of the lab: a network namespace with an address on the
// nodes' network and ranges of Pod addresses of its own.
type Node struct {
	// Name is the node's name in the cluster, such as node-1.
	Name string
	// NetNSPath is the file that holds the node's network namespace.
	NetNSPath string
	// IPv4 and IPv6 are the node's addresses on the nodes' network.
	IPv4, IPv6 netip.Addr
	// PodCIDRv4 and PodCIDRv6 are the ranges that the node's Pods live in.
	PodCIDRv4, PodCIDRv6 netip.Prefix
	// VM is true for a node that is a virtual machine: it has no network namespace here.
	VM bool
}

// Host is the node seen as one of the lab's machines.
func (n Node) Host() Host {
	return Host{Name: n.Name, NetNSPath: n.NetNSPath, IPv4: n.IPv4, IPv6: n.IPv6}
}

// Topology is the lab's network.
type Topology struct {
	// Control is the namespace of the control plane, Client that of the outside client.
	Control, Client Host
	// Nodes are the cluster's machines.
	Nodes []Node
	// PluginRoutes leaves the nodes' routes to the Pods of others to a CNI plugin.
	PluginRoutes bool

	prefix string
	router Host
}

// New plans a network of the given number of nodes (1 to 80). The names of its
// namespaces start with prefix, usually DefaultPrefix; networks with different
// prefixes do not meet.
func New(prefix string, nodes int) *Topology {
	t := &Topology{
		prefix:  prefix,
		router:  newHost(prefix, "fabric", nodesV4, nodesV6, 1),
		Control: newHost(prefix, "control", nodesV4, nodesV6, 10),
		Client:  newHost(prefix, "client", outsideV4, outsideV6, 10),
	}
	for i := 1; i <= nodes; i++ {
		name := fmt.Sprintf("node-%d", i)
		host := newHost(prefix, name, nodesV4, nodesV6, 10+i)
		node := Node{
			Name: name, NetNSPath: host.NetNSPath, IPv4: host.IPv4, IPv6: host.IPv6,
			PodCIDRv4: netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i)),
			PodCIDRv6: netip.MustParsePrefix(fmt.Sprintf("fd00:244:%d::/64", i)),
		}
		t.Nodes = append(t.Nodes, node)
	}
	return t
}

func newHost(prefix, name string, v4, v6 netip.Prefix, number int) Host {
	return Host{
		Name: name, NetNSPath: pathOf(prefix + name),
		IPv4: numbered(v4, number), IPv6: numbered(v6, number),
	}
}

// numbered is the address of a host in a range. Its last part reads the same in
// both families: 10.89.0.11 and fd00:89::11.
func numbered(cidr netip.Prefix, number int) netip.Addr {
	base := cidr.Addr()
	if base.Is4() {
		b := base.As4()
		b[3] += byte(number)
		return netip.AddrFrom4(b)
	}
	return netip.MustParseAddr(fmt.Sprintf("%s%d", base, number))
}
