// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	kernel "github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/rules/flows"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Netlink is the Kernel of a network namespace.
type Netlink struct {
	netns int
	table *kernel.Table
}

// NewNetlink returns the connection tracking of a network namespace, given by a
// file descriptor; 0 is the namespace of the calling thread.
func NewNetlink(netns int) *Netlink { return &Netlink{netns, kernel.NewTable(netns)} }

// Close frees the sockets.
func (n *Netlink) Close() { n.table.Close() }

// Dump implements Kernel.
func (n *Netlink) Dump(ctx context.Context, f Filter, each func(Entry)) error {
	selected := kernel.Filter{V6: f.Family == corev1.IPv6Protocol, Protocol: uint8(f.Protocol),
		Address: f.Address, Port: f.Port, Reverse: f.Reverse, Unanswered: f.Unanswered}
	return n.table.Dump(ctx, selected, func(e kernel.Entry) {
		each(Entry{
			Flow: flows.Flow{Protocol: model.Protocol(e.Protocol), Source: e.Source, Destination: e.Destination,
				Endpoint: e.Endpoint, Unanswered: e.Unanswered, OtherZone: e.OtherZone},
			name: name{e.Name.Tuple, e.Name.Zone, e.Name.ID},
		})
	})
}

// Delete implements Kernel.
func (n *Netlink) Delete(e Entry) (bool, error) {
	return n.table.Delete(kernel.Entry{Destination: e.Destination, Name: kernel.Name{Tuple: e.name.tuple, Zone: e.name.zone, ID: e.name.id}})
}

// Addresses implements Kernel.
func (n *Netlink) Addresses() ([]netip.Addr, error) {
	return netdev.AddressesOf(netdev.Namespace(n.netns))
}
