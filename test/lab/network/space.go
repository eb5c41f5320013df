// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

var (
	anyV4 = netip.MustParsePrefix("0.0.0.0/0")
	anyV6 = netip.MustParsePrefix("::/0")
)

// sysctls of every namespace. Links inherit the "default" ones when they are
// made, so they are written first.
var sysctls = []struct{ path, value string }{
	{"ipv4/ip_forward", "1"},
	{"ipv4/conf/all/rp_filter", "0"},
	{"ipv4/conf/default/rp_filter", "0"},
	// A packet to a ClusterIP leaves a node by the link it came in: without
	// this the node would redirect the router to a Pod (ICMP redirect).
	{"ipv4/conf/all/send_redirects", "0"},
	{"ipv4/conf/default/send_redirects", "0"},
	{"ipv4/conf/all/accept_redirects", "0"},
	{"ipv4/conf/default/accept_redirects", "0"},
	{"ipv6/conf/all/disable_ipv6", "0"},
	{"ipv6/conf/default/disable_ipv6", "0"},
	{"ipv6/conf/all/forwarding", "1"},
	{"ipv6/conf/default/forwarding", "1"},
	{"ipv6/conf/all/accept_redirects", "0"},
	{"ipv6/conf/default/accept_redirects", "0"},
	{"ipv6/conf/all/accept_ra", "0"},
	{"ipv6/conf/default/accept_ra", "0"},
	// Addresses are usable at once instead of after a second of detection.
	{"ipv6/conf/all/accept_dad", "0"},
	{"ipv6/conf/default/accept_dad", "0"},
}

// setSysctls writes to the namespace of the calling thread.
func setSysctls() error {
	for _, sysctl := range sysctls {
		if err := os.WriteFile("/proc/sys/net/"+sysctl.path, []byte(sysctl.value), 0); err != nil {
			return fmt.Errorf("sysctl: %w", err)
		}
	}
	return nil
}

// space is a network namespace opened for changes through netlink.
type space struct {
	handle *netlink.Handle
	ns     netns.NsHandle
}

func open(path string) (*space, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", path, err)
	}
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("netlink in %s: %w", path, err)
	}
	return &space{handle: handle, ns: ns}, nil
}

func (s *space) close() {
	s.handle.Close()
	s.ns.Close()
}

func (s *space) addBridge(name string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := s.handle.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("bridge %s: %w", name, err)
	}
	return nil
}

// addVeth makes a pair of links, this end here and the other in the namespace
// held by peerPath: neither is ever in the host's namespace.
func (s *space) addVeth(name, peer, peerPath string) error {
	ns, err := netns.GetFromPath(peerPath)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", peerPath, err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: peer, PeerNamespace: netlink.NsFd(int(ns))}
	if err := s.handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("veth %s: %w", name, err)
	}
	return nil
}

func (s *space) link(name string) (netlink.Link, error) {
	link, err := s.handle.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("link %s: %w", name, err)
	}
	return link, nil
}

func (s *space) enslave(name, bridge string) error {
	link, err := s.link(name)
	if err != nil {
		return err
	}
	master, err := s.link(bridge)
	if err != nil {
		return err
	}
	return s.handle.LinkSetMaster(link, master)
}

func (s *space) up(name string) error {
	link, err := s.link(name)
	if err != nil {
		return err
	}
	if err := s.handle.LinkSetUp(link); err != nil {
		return fmt.Errorf("link %s up: %w", name, err)
	}
	return nil
}

func (s *space) addAddress(name string, addr netip.Addr, bits int) error {
	link, err := s.link(name)
	if err != nil {
		return err
	}
	address := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, bits))}
	if addr.Is6() {
		address.Flags = unix.IFA_F_NODAD
	}
	if err := s.handle.AddrReplace(link, address); err != nil {
		return fmt.Errorf("address %s: %w", addr, err)
	}
	return nil
}

// addRoute adds a route by way of a gateway on the link.
func (s *space) addRoute(to netip.Prefix, via netip.Addr, name string) error {
	link, err := s.link(name)
	if err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Gw: via.AsSlice()}
	return s.replaceRoute(route)
}

// outsideTable is the routing table for packets that come in by one link.
const outsideTable = 100

// addRouteFrom adds a route by way of a gateway on the link, for packets that come in by
// another one.
func (s *space) addRouteFrom(from string, to netip.Prefix, via netip.Addr, name string) error {
	link, err := s.link(name)
	if err != nil {
		return err
	}
	rule := netlink.NewRule()
	rule.Family, rule.IifName, rule.Dst, rule.Table = unix.AF_INET, from, ipNet(to), outsideTable
	if to.Addr().Is6() {
		rule.Family = unix.AF_INET6
	}
	if err := s.handle.RuleAdd(rule); err != nil {
		return fmt.Errorf("rule for %s from %s: %w", to, from, err)
	}
	return s.replaceRoute(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Gw: via.AsSlice(), Table: outsideTable})
}

func (s *space) replaceRoute(route *netlink.Route) error {
	if err := s.handle.RouteReplace(route); err != nil {
		return fmt.Errorf("route to %s: %w", route.Dst, err)
	}
	return nil
}

// configure sets up eth0 of a machine that has one link and one gateway.
func (s *space) configure(host Host, bits4, bits6 int, gateway4, gateway6 netip.Addr) error {
	for _, link := range []string{"lo", "eth0"} {
		if err := s.up(link); err != nil {
			return err
		}
	}
	if err := s.addAddress("eth0", host.IPv4, bits4); err != nil {
		return err
	}
	if err := s.addAddress("eth0", host.IPv6, bits6); err != nil {
		return err
	}
	if err := s.addRoute(anyV4, gateway4, "eth0"); err != nil {
		return err
	}
	return s.addRoute(anyV6, gateway6, "eth0")
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
	}
}
