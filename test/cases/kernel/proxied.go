// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/userspace"
	"github.com/fairlead-proxy/fairlead/test/cases"
)

// Where the agent itself proxies, it is one of the node's processes.

// vacate ends the node's own servers, whose ports the proxy may need.
func (r *run) vacate() error {
	var errs []error
	for key, s := range r.servers {
		if r.proxied && s.machine == r.node {
			errs = append(errs, s.Close())
			delete(r.servers, key)
		}
	}
	return errors.Join(errs...)
}

// fade waits until addresses that are no Service's any more are not the node's
// either: the connections that clients have closed take a moment to end. One that
// the case keeps open holds its address.
func (r *run) fade(cluster *cases.Cluster) error {
	if !r.proxied || len(r.open) > 0 {
		return nil
	}
	desired, err := cluster.Compile().Desired()
	if err != nil {
		return err
	}
	used := map[netip.Addr]bool{}
	for key := range desired.Frontends {
		used[key.Address] = true
	}
	for deadline := time.Now().Add(longest); ; time.Sleep(10 * time.Millisecond) {
		left, err := r.proxiedAddresses(used)
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s are the node's still", left)
		}
	}
}

// proxiedAddresses returns the addresses that are the node's by a route of the
// agent, but for some.
func (n *Network) proxiedAddresses(but map[netip.Addr]bool) (out []netip.Addr, err error) {
	routes, err := n.node.links.RouteListFiltered(netlink.FAMILY_ALL,
		&netlink.Route{Table: unix.RT_TABLE_LOCAL, Protocol: userspace.Protocol}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, route := range routes {
		if a, ok := netip.AddrFromSlice(route.Dst.IP); ok && !but[a] {
			out = append(out, a)
		}
	}
	return out, nil
}
