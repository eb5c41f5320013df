// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package netdev asks the kernel about a node's network: namespaces, addresses and
// open connections.
package netdev

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	kernel "github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
)

// Namespace returns the network namespace of a file descriptor; 0 is that of the calling
// thread.
func Namespace(fd int) netns.NsHandle {
	if fd == 0 {
		return netns.None()
	}
	return netns.NsHandle(fd)
}

// Do runs f on a thread in the network namespace of a file descriptor; 0 is that of the
// calling thread. Sockets that f opens stay in it.
func Do(fd int, f func() error) (err error) {
	if fd == 0 {
		return f()
	}
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("own network namespace: %w", err)
	}
	defer home.Close()
	if err := netns.Set(netns.NsHandle(fd)); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer func() {
		if back := netns.Set(home); back != nil {
			// The thread stays locked, and exits with its goroutine.
			err = errors.Join(err, fmt.Errorf("leave network namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// Address is an address of the node, and the link that has it.
type Address struct {
	netip.Addr
	LinkIndex int
}

// Addresses lists the addresses of both families.
func Addresses(handle *netlink.Handle) (out []Address, err error) {
	list, err := Whole(func() ([]netlink.Addr, error) { return handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list the node's addresses: %w", err)
	}
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			out = append(out, Address{addr.Unmap(), a.LinkIndex})
		}
	}
	return out, nil
}

// Whole repeats a dump of package netlink while changes interrupt it.
func Whole[T any](dump func() ([]T, error)) (list []T, err error) {
	err = kernel.Retry(func() (err error) {
		list, err = dump()
		return err
	})
	return list, err
}

// WatchAddresses returns a Watcher for changes of the addresses of a network
// namespace; 0 is that of the calling thread.
func WatchAddresses(fd int) kernel.Watcher {
	return kernel.Groups(fd, unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
}

// AddressesOf lists the addresses of a network namespace.
func AddressesOf(space netns.NsHandle) ([]netip.Addr, error) {
	handle, err := netlink.NewHandleAt(space, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("list the node's addresses: %w", err)
	}
	defer handle.Close()
	list, err := Addresses(handle)
	if err != nil {
		return nil, err
	}
	out := make([]netip.Addr, len(list))
	for i, a := range list {
		out[i] = a.Addr
	}
	return out, nil
}

// IPv6Error returns why a node has no IPv6; nil if it has.
func IPv6Error(sysctls sysctl.Parameters) error {
	const all = "net/ipv6/conf/all/disable_ipv6"
	switch disabled, err := sysctls.Get(all); {
	case err != nil:
		return fmt.Errorf("the kernel does not support IPv6: %w", err)
	case disabled != "0":
		return fmt.Errorf("%s is %s", all, disabled)
	}
	return nil
}
