// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// PlugIn makes a tap device on the nodes' network, for the network card of a node that is a virtual machine. It is gone
// when the file is closed.
func (t *Topology) PlugIn(node Node) (tap *os.File, err error) {
	err = Do(t.router.NetNSPath, func() (err error) {
		tap, err = openTap(node.Name)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			tap.Close()
		}
	}()
	router, err := open(t.router.NetNSPath)
	if err != nil {
		return nil, err
	}
	defer router.close()
	return tap, errors.Join(router.enslave(node.Name, "fabric0"), router.up(node.Name))
}

// openTap makes a tap device in the namespace of the calling thread.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	tap := os.NewFile(uintptr(fd), name)
	request, err := unix.NewIfreq(name)
	if err == nil {
		// With the header, checksums that are not computed yet stay so, as between two namespaces.
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		tap.Close()
		return nil, fmt.Errorf("tap device %s: %w", name, err)
	}
	return tap, nil
}

// ConfigureMachine configures the network of this machine, which is a node: the first link's addresses, routes, sysctls.
// Its driver is loaded by load: before that the link's defaults have to be set.
func (t *Topology) ConfigureMachine(name string, load func() error) error {
	for _, node := range t.Nodes {
		if node.Name != name {
			continue
		}
		host := node.Host()
		host.NetNSPath = "/proc/self/ns/net"
		if err := errors.Join(setSysctls(), load()); err != nil {
			return err
		}
		return t.route(host)
	}
	return fmt.Errorf("no node %s", name)
}
