// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
)

// probeRoute is added and removed by a probe. Its address is reserved for documentation
// (RFC 5737).
var probeRoute = routeTo(netip.AddrFrom4([4]byte{198, 51, 100, 255}))

// Probe says whether this kernel can run the mode: whether a route can make an address
// local to the node.
func (d *Dataplane) Probe(context.Context, dataplane.Options) (dataplane.Capability, error) {
	if err := d.routing.table.add(probeRoute, netip.Addr{}); err != nil {
		return dataplane.Capability{}, fmt.Errorf("this kernel cannot run Userspace: %w", err)
	}
	return dataplane.Capability{}, d.routing.table.remove(probeRoute)
}
