// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/rules"
)

// nodePortAddresses returns the addresses that node ports answer on.
func (d *Dataplane) nodePortAddresses(s *rules.NodeSettings) (map[netip.Addr]struct{}, error) {
	if len(s.PodInterface) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("interface name %q is longer than %d characters", s.PodInterface, unix.IFNAMSIZ-1)
	}
	out := map[netip.Addr]struct{}{}
	for _, a := range s.NodePortAddresses {
		if !a.IsLoopback() { // that is NodePortLocalhost
			out[a] = struct{}{}
		}
	}
	if len(s.NodePortCIDRs) == 0 {
		return out, nil
	}
	local, err := d.addresses()
	if err != nil {
		return nil, fmt.Errorf("listing this node's addresses: %w", err)
	}
	for _, a := range local {
		for _, cidr := range s.NodePortCIDRs {
			if cidr.Contains(a) && !a.IsLoopback() {
				out[a] = struct{}{}
			}
		}
	}
	return out, nil
}

func (d *Dataplane) localAddresses() (out []netip.Addr, err error) {
	handle, err := d.routeHandle()
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	var list []netlink.Addr
	for range dumpTries {
		if list, err = handle.AddrList(nil, netlink.FAMILY_ALL); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			out = append(out, addr.Unmap())
		}
	}
	return out, nil
}

func (d *Dataplane) routeHandle() (*netlink.Handle, error) {
	if d.netns == 0 {
		return netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	return netlink.NewHandleAt(netns.NsHandle(d.netns), unix.NETLINK_ROUTE)
}
