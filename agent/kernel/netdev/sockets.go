// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Connection is a TCP connection as seen from one of its ends.
type Connection struct{ Local, Remote netip.AddrPort }

// Connections lists the open TCP connections of a network namespace, including those in
// the handshake and those that are not accepted yet.
func Connections(space netns.NsHandle) (out []Connection, err error) {
	handle, err := netlink.NewHandleAt(space, unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, fmt.Errorf("list TCP connections: %w", err)
	}
	defer handle.Close()
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := Whole(func() ([]*netlink.Socket, error) { return handle.SocketDiagTCP(family) })
		if err != nil {
			return nil, fmt.Errorf("list TCP connections: %w", err)
		}
		for _, s := range sockets {
			switch s.State {
			case netlink.TCP_SYN_RECV, netlink.TCP_ESTABLISHED, netlink.TCP_FIN_WAIT1, netlink.TCP_FIN_WAIT2, netlink.TCP_CLOSE_WAIT:
				local, ok := netip.AddrFromSlice(s.ID.Source)
				remote, too := netip.AddrFromSlice(s.ID.Destination)
				if ok && too {
					out = append(out, Connection{netip.AddrPortFrom(local.Unmap(), s.ID.SourcePort), netip.AddrPortFrom(remote.Unmap(), s.ID.DestinationPort)})
				}
			}
		}
	}
	return out, nil
}
