// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net/netip"
)

// Build makes the namespaces of the router, the control plane, the nodes and
// the client, and connects them. After an error, Teardown removes the rest.
func (t *Topology) Build() error {
	for _, host := range t.hosts() {
		if err := createNamespace(host.NetNSPath); err != nil {
			return err
		}
		if err := Do(host.NetNSPath, setSysctls); err != nil {
			return err
		}
	}
	if err := t.cable(); err != nil {
		return err
	}
	for _, host := range t.hosts() {
		if err := t.route(host); err != nil {
			return fmt.Errorf("routes of %s: %w", host.Name, err)
		}
	}
	return nil
}

// Teardown removes every namespace of this network.
// It knows them by their names, so it also cleans up after a lab that died.
// Processes that still run inside have to be gone before.
func (t *Topology) Teardown() error {
	names, err := Names(t.prefix)
	errs := []error{err}
	for _, name := range names {
		errs = append(errs, deleteNamespace(pathOf(name)))
	}
	errs = append(errs, releaseNetnsDir())
	return errors.Join(errs...)
}

// Hosts are the machines a person may want to look into: not the virtual ones.
func (t *Topology) Hosts() []Host {
	hosts := []Host{t.Control, t.Client}
	for _, node := range t.Nodes {
		if !node.VM {
			hosts = append(hosts, node.Host())
		}
	}
	return hosts
}

func (t *Topology) hosts() []Host { return append([]Host{t.router}, t.Hosts()...) }

// cable builds the links: everything hangs on the router, with a bridge for
// the nodes' network and a plain veth pair for the outside.
func (t *Topology) cable() error {
	router, err := open(t.router.NetNSPath)
	if err != nil {
		return err
	}
	defer router.close()
	if err := router.addBridge("fabric0"); err != nil {
		return err
	}
	for _, host := range t.Hosts() {
		port := host.Name
		if host.Name == t.Client.Name {
			port = "outside0"
		}
		if err := router.addVeth(port, "eth0", host.NetNSPath); err != nil {
			return fmt.Errorf("link to %s: %w", host.Name, err)
		}
		if host.Name != t.Client.Name {
			if err := router.enslave(port, "fabric0"); err != nil {
				return fmt.Errorf("link to %s: %w", host.Name, err)
			}
		}
		if err := router.up(port); err != nil {
			return err
		}
	}
	errs := []error{
		router.addAddress("fabric0", t.router.IPv4, nodesV4.Bits()),
		router.addAddress("fabric0", t.router.IPv6, nodesV6.Bits()),
		router.addAddress("outside0", numbered(outsideV4, 1), outsideV4.Bits()),
		router.addAddress("outside0", numbered(outsideV6, 1), outsideV6.Bits()),
		router.up("fabric0"), router.up("lo"),
	}
	return errors.Join(errs...)
}

// route gives a machine its addresses and routes.
func (t *Topology) route(host Host) error {
	space, err := open(host.NetNSPath)
	if err != nil {
		return err
	}
	defer space.close()
	switch host.Name {
	case t.router.Name:
		errs := []error{t.routePods(space, host, "fabric0")}
		for _, cidr := range ServiceCIDRs {
			// The outside reaches ClusterIPs through one node, as with a router that was
			// given a static route. What a node has not translated gets nowhere: another
			// node's rules must not hide that its own are missing.
			errs = append(errs, space.addRouteFrom("outside0", cidr, sameFamily(cidr, t.Nodes[0].IPv4, t.Nodes[0].IPv6), "fabric0"))
		}
		return errors.Join(errs...)
	case t.Client.Name:
		return space.configure(host, outsideV4.Bits(), outsideV6.Bits(), numbered(outsideV4, 1), numbered(outsideV6, 1))
	default:
		if err := space.configure(host, nodesV4.Bits(), nodesV6.Bits(), t.router.IPv4, t.router.IPv6); err != nil {
			return err
		}
		if t.PluginRoutes {
			return nil
		}
		return t.routePods(space, host, "eth0")
	}
}

// routePods routes the Pod ranges of the other nodes by way of their nodes.
func (t *Topology) routePods(space *space, host Host, link string) error {
	var errs []error
	for _, node := range t.Nodes {
		if node.Name == host.Name {
			continue
		}
		errs = append(errs,
			space.addRoute(node.PodCIDRv4, node.IPv4, link),
			space.addRoute(node.PodCIDRv6, node.IPv6, link))
	}
	return errors.Join(errs...)
}

func sameFamily(cidr netip.Prefix, v4, v6 netip.Addr) netip.Addr {
	if cidr.Addr().Is4() {
		return v4
	}
	return v6
}
