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
		left, err := r.virtual(used)
		if err != nil || !left.IsValid() {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is still the node's", left)
		}
	}
}

// virtual returns an address that is the node's by a route of the agent, and not
// one of some addresses.
func (r *run) virtual(but map[netip.Addr]bool) (netip.Addr, error) {
	routes, err := r.node.links.RouteListFiltered(netlink.FAMILY_ALL,
		&netlink.Route{Table: unix.RT_TABLE_LOCAL, Protocol: userspace.Protocol}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list routes: %w", err)
	}
	for _, route := range routes {
		if a, ok := netip.AddrFromSlice(route.Dst.IP); ok && !but[a] {
			return a, nil
		}
	}
	return netip.Addr{}, nil
}
