// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kernel runs the cases on the real kernel: a node with the real agent, a
// network namespace for every other address, and real packets.
//
//	Pods, one namespace each ──┐
//	                           ├── node (agent) ── beyond: all other addresses
//	clients outside, likewise ─┘
package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/test/cases"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// linkAddress is the node's address on each of its links: what masqueraded packets
// come from. The node's own addresses are on other links, so that the two differ.
var (
	linkAddress   = netip.MustParseAddr("192.168.255.1")
	beyondAddress = netip.MustParseAddr("198.18.0.1")
)

// nodeLink is the node's link with its own addresses.
const nodeLink = "node"

// sysctls of every namespace.
var sysctls = map[string]string{
	"ipv4/ip_forward":                        "1",
	"ipv6/conf/all/forwarding":               "1",
	"ipv4/conf/all/rp_filter":                "0",
	"ipv4/conf/default/rp_filter":            "0",
	"ipv4/conf/all/send_redirects":           "0",
	"ipv4/conf/default/send_redirects":       "0",
	"ipv6/conf/all/accept_dad":               "0",
	"ipv6/conf/default/accept_dad":           "0",
	"ipv4/icmp_ratemask":                     "0",  // refusals are limited neither for
	"ipv6/icmp/ratemask":                     "\n", // each client nor, at 50, for all
	"ipv6/conf/all/disable_ipv6":             "0",
	"ipv6/conf/default/disable_ipv6":         "0",
	"ipv6/conf/default/router_solicitations": "0",
}

// machine is a network namespace. It has no name, so it ends with the process.
type machine struct {
	handle netns.NsHandle
	links  *netlink.Handle
	owns   map[netip.Addr]bool // added by own
}

// path is a file that stands for the namespace in this process.
func (m *machine) path() string { return fmt.Sprintf("/proc/self/fd/%d", int(m.handle)) }

func (m *machine) do(f func() error) error { return network.Do(m.path(), f) }

func newMachine() (*machine, error) {
	m := &machine{handle: netns.None(), owns: map[netip.Addr]bool{}}
	result := make(chan error, 1)
	// The thread comes back, or goes with its goroutine: but Go does not end the
	// process's first thread, and it is the one that /proc/self shows.
	go func() {
		runtime.LockOSThread()
		home, err := m.unshare()
		if home {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	if err := <-result; err != nil {
		m.close()
		return nil, err
	}
	err := m.do(func() error {
		for name, value := range sysctls {
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
				return fmt.Errorf("sysctl: %w", err)
			}
		}
		return nil
	})
	if err == nil {
		m.links, err = netlink.NewHandleAt(m.handle, unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	}
	if err == nil {
		err = m.up("lo")
	}
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// unshare makes the namespace, and reports whether the thread is back in its own.
func (m *machine) unshare() (home bool, err error) {
	origin, err := netns.Get()
	if err != nil {
		return true, fmt.Errorf("own network namespace: %w", err)
	}
	defer origin.Close()
	if m.handle, err = netns.New(); err != nil { // it enters what it makes
		return false, fmt.Errorf("new network namespace: %w", err)
	}
	if err := netns.Set(origin); err != nil {
		return false, fmt.Errorf("leave the new network namespace: %w", err)
	}
	return true, nil
}

func (m *machine) close() {
	if m.links != nil {
		m.links.Close()
	}
	m.handle.Close()
}

func (m *machine) up(name string) error {
	link, err := m.links.LinkByName(name)
	if err == nil {
		err = m.links.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("link %s up: %w", name, err)
	}
	return nil
}

// address adds an address to a link. It is there already if a case says so twice.
func (m *machine) address(name string, a netip.Addr) error {
	link, err := m.links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	address := &netlink.Addr{IPNet: single(a)}
	if a.Is6() {
		address.Flags = unix.IFA_F_NODAD
	}
	if err := m.links.AddrReplace(link, address); err != nil {
		return fmt.Errorf("address %s: %w", a, err)
	}
	return m.receives(a)
}

// receives waits until the machine takes an address for its own. The kernel binds
// sockets to a new IPv6 address before it has a route for it.
func (m *machine) receives(a netip.Addr) error {
	for deadline := time.Now().Add(longest); ; time.Sleep(time.Millisecond) {
		routes, err := m.links.RouteGet(a.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("address %s: no local route", a), err)
		}
	}
}

func (m *machine) removeAddress(name string, a netip.Addr) error {
	link, err := m.links.LinkByName(name)
	if err == nil {
		err = m.links.AddrDel(link, &netlink.Addr{IPNet: single(a)})
	}
	if err != nil {
		return fmt.Errorf("remove address %s: %w", a, err)
	}
	return nil
}

// route adds a route by a link; to everywhere if there is a gateway.
func (m *machine) route(to, via, source netip.Addr, name string) error {
	link, err := m.links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Src: source.AsSlice(), Scope: netlink.SCOPE_LINK}
	if via.IsValid() {
		r.Scope, r.Gw = netlink.SCOPE_UNIVERSE, via.AsSlice()
		r.Dst = &net.IPNet{IP: make(net.IP, via.BitLen()/8), Mask: make(net.IPMask, via.BitLen()/8)}
	} else {
		r.Dst = single(to)
	}
	if err := m.links.RouteReplace(r); err != nil {
		return fmt.Errorf("route to %s: %w", r.Dst, err)
	}
	return nil
}

func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

func bothFamilies(a netip.Addr) []netip.Addr { return []netip.Addr{a, cases.Twin(a)} }

// Network is the node and its environment.
type Network struct {
	node, beyond *machine

	// proxied says that what makes Services work is a process that opens connections
	// itself: they come from the node's own address, and its sockets have ports
	// of the node.
	proxied bool

	mu     sync.Mutex
	others map[netip.Addr]*machine // by IPv4 address
}

// NewNetwork makes a node, and what lies beyond. Others come when they are needed.
func NewNetwork() (*Network, error) {
	n := &Network{others: map[netip.Addr]*machine{}}
	var err error
	if n.node, err = newMachine(); err != nil {
		return nil, err
	}
	if err := n.nodeAddresses(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if n.beyond, err = n.attach("beyond", beyondAddress); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	for i, gateway := range bothFamilies(beyondAddress) {
		source := bothFamilies(cases.NodeAddress)[i]
		if err := n.node.route(netip.Addr{}, gateway, source, "beyond"); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// nodeAddresses gives the node its addresses: most on a link of their own, and the
// one that is also an external IP on the loopback.
func (n *Network) nodeAddresses() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = nodeLink
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: nodeLink + "-peer"} // a kernel may have no dummies
	if err := n.node.links.LinkAdd(pair); err != nil {
		return fmt.Errorf("link %s: %w", nodeLink, err)
	}
	if err := errors.Join(n.node.up(pair.Name), n.node.up(pair.PeerName)); err != nil {
		return err
	}
	for _, a := range cases.NodeAddresses {
		name := nodeLink
		if a == cases.LoopbackAddress {
			name = "lo"
		}
		for _, a := range bothFamilies(a) {
			if err := n.node.address(name, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close ends all namespaces.
func (n *Network) Close() error {
	for _, m := range n.others {
		m.close()
	}
	n.node.close()
	return nil
}

// attach makes a machine with an address and its twin, behind a link of the node.
func (n *Network) attach(name string, v4 netip.Addr) (*machine, error) {
	m, err := newMachine()
	if err != nil {
		return nil, err
	}
	n.others[v4] = m
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(m.handle))}
	if err := n.node.links.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("link %s: %w", name, err)
	}
	if err := errors.Join(n.node.up(name), m.up("eth0")); err != nil {
		return nil, err
	}
	for i, own := range bothFamilies(v4) {
		gateway, node := bothFamilies(linkAddress)[i], bothFamilies(cases.NodeAddress)[i]
		for _, err := range []error{
			n.node.address(name, gateway), m.address("eth0", own),
			n.node.route(own, netip.Addr{}, node, name),
			m.route(gateway, netip.Addr{}, own, "eth0"), m.route(netip.Addr{}, gateway, own, "eth0"),
		} {
			if err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// at returns the machine of a client or an endpoint, by any of its two addresses.
func (n *Network) at(a netip.Addr) (*machine, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	v4 := cases.Original(a)
	if m := n.others[v4]; m != nil {
		return m, nil
	}
	name := "o" + v4.String()
	if cases.PodNetwork.Contains(v4) {
		name = cases.PodLink(v4)
	}
	return n.attach(name, v4)
}

// owner returns the machine that an untouched packet to an address reaches.
func (n *Network) owner(a netip.Addr) (*machine, error) {
	v4 := cases.Original(a)
	if v4.IsLoopback() || slices.Contains(cases.NodeAddresses, v4) {
		return n.node, nil
	}
	if cases.PodNetwork.Contains(v4) {
		return n.at(a)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := n.others[v4]; m != nil {
		return m, nil
	}
	if !n.beyond.owns[a] {
		n.beyond.owns[a] = true
		return n.beyond, n.beyond.address("eth0", a)
	}
	return n.beyond, nil
}

// Forget ends all connections that the node tracks, so that a case begins as on a
// new node.
func (n *Network) Forget() error {
	if err := n.node.links.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		return fmt.Errorf("flush conntrack: %w", err)
	}
	return nil
}
