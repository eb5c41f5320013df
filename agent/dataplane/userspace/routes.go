// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
)

// Protocol is the protocol number of our routes (`ip route show table all proto 173`). It
// is not in the list of known numbers (rtnetlink.h, rt_protos).
const Protocol = 173

const loopbackName = "lo"

// metric gives any other route to the same address or range precedence over ours.
const metric = 1 << 30

// route is one of our routes. A route to a single address makes it local to the node,
// without being on any of its links; a route to a range drops packets to it.
type route struct{ netip.Prefix }

func routeTo(a netip.Addr) route { return route{netip.PrefixFrom(a, a.BitLen())} }

func (r route) isGuard() bool { return !r.IsSingleIP() }

func (r route) String() string {
	if r.isGuard() {
		return "blackhole route " + r.Prefix.String()
	}
	return "local route " + r.Addr().String()
}

// table holds routes. A call that returns an error changes nothing.
type table interface {
	// routes returns all our routes, with their sources.
	routes() (map[route]netip.Addr, error)
	// add adds a route, or changes its source: the address that processes of the node
	// connect to the route's address from (IPv4; the zero value: from that address
	// itself).
	add(r route, source netip.Addr) error
	remove(route) error

	addresses() ([]netdev.Address, error)
	links() ([]link, error)
	close() error
}

// kernelTable is the routing table of the kernel.
type kernelTable struct {
	handle   *netlink.Handle
	loopback int
}

var _ table = (*kernelTable)(nil)

func openTable(namespace int) (*kernelTable, error) {
	handle, err := netlink.NewHandleAt(netdev.Namespace(namespace), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a route netlink socket: %w", err)
	}
	lo, err := handle.LinkByName(loopbackName)
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("find device %s: %w", loopbackName, err)
	}
	return &kernelTable{handle: handle, loopback: lo.Attrs().Index}, nil
}

func (t *kernelTable) close() error {
	t.handle.Close()
	return nil
}

func (t *kernelTable) routes() (map[route]netip.Addr, error) {
	out := map[route]netip.Addr{}
	for _, id := range []int{unix.RT_TABLE_LOCAL, unix.RT_TABLE_MAIN} {
		filter := &netlink.Route{Table: id, Protocol: Protocol}
		list, err := netdev.Whole(func() ([]netlink.Route, error) {
			return t.handle.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		})
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, found := range list {
			if r, ok := routeOf(found); ok {
				source, _ := netip.AddrFromSlice(found.Src)
				out[r] = source.Unmap()
			}
		}
	}
	return out, nil
}

// routeOf returns a route of the kernel as one of ours, if it is ours.
func routeOf(found netlink.Route) (route, bool) {
	if found.Protocol != Protocol || found.Dst == nil {
		return route{}, false
	}
	a, ok := netip.AddrFromSlice(found.Dst.IP)
	if !ok {
		return route{}, false
	}
	bits, _ := found.Dst.Mask.Size()
	r := route{netip.PrefixFrom(a, bits)}
	local := found.Table == unix.RT_TABLE_LOCAL && found.Type == unix.RTN_LOCAL
	return r, local != r.isGuard()
}

func (t *kernelTable) asRoute(r route) *netlink.Route {
	out := netdev.LocalRoute(r.Addr(), t.loopback)
	if r.isGuard() {
		out = netlink.Route{Type: unix.RTN_BLACKHOLE, Table: unix.RT_TABLE_MAIN,
			Dst: &net.IPNet{IP: r.Addr().AsSlice(), Mask: net.CIDRMask(r.Bits(), r.Addr().BitLen())}}
	}
	out.Protocol, out.Priority = Protocol, metric
	return &out
}

func (t *kernelTable) add(r route, source netip.Addr) error {
	found, do := t.asRoute(r), t.handle.RouteAdd
	if !r.isGuard() && r.Addr().Is4() && source.IsValid() {
		found.Src, do = source.AsSlice(), t.handle.RouteReplace
	}
	if err := do(found); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add the %s: %w", r, err)
	}
	return nil
}

func (t *kernelTable) remove(r route) error {
	found := t.asRoute(r)
	found.Priority = 0 // any: others may have added one with our protocol number
	if err := t.handle.RouteDel(found); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove the %s: %w", r, err)
	}
	return nil
}

func (t *kernelTable) addresses() ([]netdev.Address, error) { return netdev.Addresses(t.handle) }

func (t *kernelTable) links() ([]link, error) {
	list, err := netdev.Whole(t.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list the node's links: %w", err)
	}
	out := make([]link, len(list))
	for i, l := range list {
		out[i] = link{name: l.Attrs().Name, index: l.Attrs().Index}
	}
	return out, nil
}
