// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// errNoIPVS says that the kernel does not have IPVS and cannot load it.
var errNoIPVS = dataplane.Unsupported(errors.New("this kernel has no IPVS (module ip_vs)"))

// netlinkKernel is the IPVS of the kernel.
type netlinkKernel struct {
	handle *ipvs.Handle
	netns  string // a path, empty: that of the calling thread
}

var _ kernel = (*netlinkKernel)(nil)

// openKernel opens the IPVS of a network namespace; 0 is that of the calling thread. It
// fails if the kernel does not support IPVS; opening makes the kernel load the module
// ip_vs.
func openKernel(netns int) (*netlinkKernel, error) {
	// The library caches a negative result for ever, so ask first.
	ctx := context.Background()
	has, err := netlink.HasFamily(ctx, "IPVS")
	if err == nil && !has {
		loadModule(ctx, "ip_vs")
		has, err = netlink.HasFamily(ctx, "IPVS")
	}
	if err != nil {
		return nil, err
	}
	if !has {
		return nil, errNoIPVS
	}
	path := ""
	if netns != 0 {
		path = fmt.Sprintf("/proc/self/fd/%d", netns)
	}
	handle, err := ipvs.New(path)
	if err != nil {
		return nil, fmt.Errorf("open IPVS: %w", err)
	}
	return &netlinkKernel{handle, path}, nil
}

// reopen replaces the socket after a list that has failed: the kernel goes on with that one,
// and refuses another on the same socket (EBUSY), until the rest is received, which the
// library does not do.
func (k *netlinkKernel) reopen() error {
	handle, err := ipvs.New(k.netns)
	if err != nil {
		return fmt.Errorf("open IPVS again: %w", err)
	}
	k.handle.Close()
	k.handle = handle
	return nil
}

func (k *netlinkKernel) close() error {
	k.handle.Close()
	return nil
}

func (k *netlinkKernel) servers() ([]virtualServer, error) {
	list, err := k.handle.GetServices()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("list virtual servers: %w", err), k.reopen())
	}
	out := make([]virtualServer, len(list))
	for i, s := range list {
		out[i] = virtualServerOf(s)
	}
	return out, nil
}

func (k *netlinkKernel) server(key serverKey) (virtualServer, bool, error) {
	s, err := k.handle.GetService(service(key, server{}))
	if errors.Is(err, unix.ESRCH) {
		return virtualServer{}, false, nil
	}
	if err != nil {
		return virtualServer{}, false, explain(err, "get virtual server %s", key)
	}
	return virtualServerOf(s), true, nil
}

func virtualServerOf(s *ipvs.Service) virtualServer {
	v := virtualServer{key: keyOf(s), server: server{scheduler: s.SchedName, flags: s.Flags & schedulerFlags}}
	if s.Flags&flagPersistent != 0 {
		v.persistence = s.Timeout
	}
	return v
}

func keyOf(s *ipvs.Service) serverKey {
	family := corev1.IPv4Protocol
	if s.AddressFamily == unix.AF_INET6 {
		family = corev1.IPv6Protocol
	}
	if s.FWMark != 0 {
		return onMark(family, s.FWMark)
	}
	return serverKey{family: family, FrontendKey: model.FrontendKey{
		Address: address(s.Address, s.AddressFamily), Protocol: model.Protocol(s.Protocol), Port: s.Port}}
}

// address converts an address; the library does not always set the family.
func address(ip net.IP, family uint16) netip.Addr {
	if family == unix.AF_INET {
		ip = ip.To4()
	} else {
		ip = ip.To16()
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr
}

func (k *netlinkKernel) realServers(key serverKey) ([]realServer, error) {
	list, err := k.handle.GetDestinations(service(key, server{}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("list the real servers of %s: %w", key, err), k.reopen())
	}
	var out []realServer
	for _, d := range list {
		out = append(out, realServer{
			endpoint: netip.AddrPortFrom(address(d.Address, d.AddressFamily), d.Port),
			weight:   d.Weight,
			active:   d.ActiveConnections,
			inactive: d.InactiveConnections,
		})
	}
	return out, nil
}

func (k *netlinkKernel) addServer(key serverKey, s server) error {
	return explain(k.handle.NewService(service(key, s)), "add virtual server %s (%s)", key, s.scheduler)
}

func (k *netlinkKernel) setServer(key serverKey, s server) error {
	return explain(k.handle.UpdateService(service(key, s)), "change virtual server %s (%s)", key, s.scheduler)
}

func (k *netlinkKernel) deleteServer(key serverKey) error {
	return explain(k.handle.DelService(service(key, server{})), "delete virtual server %s", key)
}

func (k *netlinkKernel) addRealServer(key serverKey, r realServer) error {
	return explain(k.handle.NewDestination(service(key, server{}), destination(r)), "add real server %s to %s", r.endpoint, key)
}

func (k *netlinkKernel) setRealServer(key serverKey, r realServer) error {
	return explain(k.handle.UpdateDestination(service(key, server{}), destination(r)), "change real server %s of %s", r.endpoint, key)
}

func (k *netlinkKernel) deleteRealServer(key serverKey, e model.Endpoint) error {
	return explain(k.handle.DelDestination(service(key, server{}), destination(realServer{endpoint: e})), "delete real server %s of %s", e, key)
}

// explain adds to an error what was tried, and what its number means here.
func explain(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("%w (the kernel does not have the scheduler's module, or the object does not exist)", err)
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

func (k *netlinkKernel) timeouts() (Timeouts, error) {
	c, err := k.handle.GetConfig()
	if err != nil {
		return Timeouts{}, fmt.Errorf("get IPVS timeouts: %w", err)
	}
	seconds := func(d time.Duration) int32 { return int32(d / time.Second) }
	return Timeouts{TCP: seconds(c.TimeoutTCP), TCPFin: seconds(c.TimeoutTCPFin), UDP: seconds(c.TimeoutUDP)}, nil
}

func (k *netlinkKernel) setTimeouts(t Timeouts) error {
	seconds := func(n int32) time.Duration { return time.Duration(n) * time.Second }
	return explain(k.handle.SetConfig(&ipvs.Config{
		TimeoutTCP: seconds(t.TCP), TimeoutTCPFin: seconds(t.TCPFin), TimeoutUDP: seconds(t.UDP),
	}), "set IPVS timeouts")
}

// service converts a virtual server. The netmask of a single address makes persistence per
// client; for IPv6 it is a prefix length.
func service(key serverKey, s server) *ipvs.Service {
	out := &ipvs.Service{
		SchedName: s.scheduler, Flags: s.flags, FWMark: key.mark,
		AddressFamily: unix.AF_INET, Netmask: 0xffffffff,
	}
	if key.family == corev1.IPv6Protocol {
		out.AddressFamily, out.Netmask = unix.AF_INET6, 128
	}
	if s.persistence > 0 {
		out.Flags |= flagPersistent
		out.Timeout = s.persistence
	}
	if key.mark == 0 {
		out.Address, out.Protocol, out.Port = key.Address.AsSlice(), uint16(key.Protocol), key.Port
	}
	return out
}

func destination(r realServer) *ipvs.Destination {
	family := uint16(unix.AF_INET)
	if r.endpoint.Addr().Is6() {
		family = unix.AF_INET6
	}
	return &ipvs.Destination{
		Address: r.endpoint.Addr().AsSlice(), Port: r.endpoint.Port(), AddressFamily: family,
		Weight: r.weight, ConnectionFlags: ipvs.ConnFwdMasq,
	}
}
