// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
)

// DeviceName is the device that holds the virtual addresses: IPVS sees only packets to
// local addresses. The name is kube-proxy's: network plugins and load balancers know it
// and leave its addresses alone.
const DeviceName = "kube-ipvs0"

// device holds the virtual addresses.
type device interface {
	// possible returns why the device cannot be added, unless it exists. It leaves nothing
	// behind.
	possible() error
	// exists says whether it has been added.
	exists() (bool, error)
	// ensure adds the device, unless it exists.
	ensure() error
	// addresses returns the addresses on the device, and all others of the node.
	addresses() (onDevice, elsewhere map[netip.Addr]struct{}, err error)
	// is says whether the device has an index. It may be called at any time.
	is(index int) bool
	add(netip.Addr) error
	remove(netip.Addr) error
	// setSource makes processes of the node connect to an IPv4 address on the device from
	// another address of the node.
	setSource(a, source netip.Addr) error
	// clearSources undoes that for all addresses. It returns for how many.
	clearSources() (int, error)
	// destroy removes the device and all its addresses and routes.
	destroy() error
	close() error
}

// dummyDevice is the device in the kernel.
type dummyDevice struct {
	handle *netlink.Handle
	index  atomic.Int64 // 0: there is none
}

var _ device = (*dummyDevice)(nil)

// openDevice opens the device of a network namespace; 0 is that of the calling
// thread.
func openDevice(namespace int) (*dummyDevice, error) {
	handle, err := netlink.NewHandleAt(netdev.Namespace(namespace), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a route netlink socket: %w", err)
	}
	return &dummyDevice{handle: handle}, nil
}

func (d *dummyDevice) close() error {
	d.handle.Close()
	return nil
}

// link returns the device, nil if there is none.
func (d *dummyDevice) link() (netlink.Link, error) {
	link, err := d.handle.LinkByName(DeviceName)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		d.index.Store(0)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find device %s: %w", DeviceName, err)
	}
	if link.Type() != "dummy" {
		return nil, fmt.Errorf("device %s is not of type dummy but %s: delete it, so that it can be added again", DeviceName, link.Type())
	}
	d.index.Store(int64(link.Attrs().Index))
	return link, nil
}

// probeName is the link that a probe adds and deletes.
const probeName = "fairlead-probe"

func (d *dummyDevice) possible() error {
	link, err := d.link()
	if err != nil || link != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = probeName
	probe := &netlink.Dummy{LinkAttrs: attrs}
	// A link left over from a crash must not look like an error.
	if err := d.handle.LinkAdd(probe); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add a dummy link (module dummy): %w", err)
	}
	if err := d.handle.LinkDel(probe); err != nil {
		return fmt.Errorf("delete the dummy link %s: %w", probeName, err)
	}
	return nil
}

func (d *dummyDevice) exists() (bool, error) {
	link, err := d.link()
	return link != nil, err
}

// ensure adds the device. It stays down, like kube-proxy's: its addresses are local all
// the same, and nothing is ever sent through it.
func (d *dummyDevice) ensure() error {
	link, err := d.link()
	if err != nil || link != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = DeviceName
	if err := d.handle.LinkAdd(&netlink.Dummy{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("add device %s (module dummy): %w", DeviceName, err)
	}
	_, err = d.link()
	return err
}

func (d *dummyDevice) is(index int) bool { return int64(index) == d.index.Load() }

func (d *dummyDevice) addresses() (onDevice, elsewhere map[netip.Addr]struct{}, err error) {
	if _, err := d.link(); err != nil {
		return nil, nil, err
	}
	list, err := netdev.Addresses(d.handle)
	if err != nil {
		return nil, nil, err
	}
	onDevice, elsewhere = map[netip.Addr]struct{}{}, map[netip.Addr]struct{}{}
	for _, a := range list {
		switch {
		case !d.is(a.LinkIndex):
			elsewhere[a.Addr] = struct{}{}
		case !a.IsLinkLocalUnicast():
			onDevice[a.Addr] = struct{}{}
		}
	}
	return onDevice, elsewhere, nil
}

func (d *dummyDevice) add(a netip.Addr) error {
	err := d.handle.AddrAdd(d.asLink(), asAddr(a))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add %s to device %s: %w", a, DeviceName, err)
	}
	return nil
}

func (d *dummyDevice) remove(a netip.Addr) error {
	err := d.handle.AddrDel(d.asLink(), asAddr(a))
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove %s from device %s: %w", a, DeviceName, err)
	}
	return nil
}

func (d *dummyDevice) asLink() netlink.Link {
	return &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: DeviceName, Index: int(d.index.Load())}}
}

func asAddr(a netip.Addr) *netlink.Addr {
	out := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
	if a.Is6() {
		out.Flags = unix.IFA_F_NODAD // no other host has it, and it must work at once
	}
	return out
}

func (d *dummyDevice) destroy() error {
	link, err := d.link()
	if err != nil || link == nil {
		return err
	}
	if err := d.handle.LinkDel(link); err != nil {
		return fmt.Errorf("delete device %s: %w", DeviceName, err)
	}
	return nil
}
