// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Protocol is the protocol number of our routes (`ip route show table local proto 174`). It
// is not in the list of known numbers (rtnetlink.h, rt_protos), and differs from that of
// the mode Userspace.
const Protocol = 174

// sources says which virtual IPv4 addresses have a source: an address of the node that its
// processes connect to them from. The kernel's own choice is the virtual address itself.
// That is right for connections through IPVS, but not for those of the mode that replaces
// this one: they go on when the virtual address is removed from the node.
type sources int

const (
	sourcesUnknown sources = iota // a previous agent may have set them
	sourcesNone
	sourcesAll
)

// setSources gives all virtual addresses a source. It does not do so for IPv6, where the
// kernel's own route always has precedence.
func (v *vips) setSources(node model.NodeSettings) error {
	if v.sources == sourcesAll {
		return nil
	}
	nodePorts, err := node.NodePortsOn(v.own)
	if err != nil {
		return err
	}
	source := netdev.Source(v.elsewhere, nodePorts)
	if !source.IsValid() {
		return nil
	}
	v.sources = sourcesUnknown
	var errs []error
	for a := range v.bound {
		if a.Is4() {
			errs = append(errs, v.device.setSource(a, source))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	v.sources = sourcesAll
	return nil
}

// clearSources undoes setSources. It returns the number of operations.
func (v *vips) clearSources() (int, error) {
	if v.sources == sourcesNone {
		return 0, nil
	}
	n, err := v.device.clearSources()
	if err == nil {
		v.sources = sourcesNone
	}
	return n, err
}

// setSource adds a second local route for the address, before the kernel's own route for
// it. The kernel's own stays: it would not remove a changed one together with the address.
func (d *dummyDevice) setSource(a, source netip.Addr) error {
	r := netdev.LocalRoute(a, int(d.index.Load()))
	r.Protocol, r.Src = Protocol, source.AsSlice()
	// The function is named after its flags in IPv6. In IPv4 they are those of
	// `ip route prepend`.
	if err := d.handle.RouteAddEcmp(&r); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add a local route to %s from %s: %w", a, source, err)
	}
	return nil
}

func (d *dummyDevice) clearSources() (n int, err error) {
	ours := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Protocol: Protocol}
	list, err := netdev.Whole(func() ([]netlink.Route, error) {
		return d.handle.RouteListFiltered(netlink.FAMILY_V4, ours, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return 0, fmt.Errorf("list local routes: %w", err)
	}
	var errs []error
	for i := range list {
		switch err := d.handle.RouteDel(&list[i]); {
		case err == nil:
			n++
		case !errors.Is(err, unix.ESRCH):
			errs = append(errs, fmt.Errorf("remove the local route to %s: %w", list[i].Dst, err))
		}
	}
	return n, errors.Join(errs...)
}
