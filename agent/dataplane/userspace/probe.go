// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
)

// probeRoute is made for a moment by a probe. It is to an address for
// documentation (RFC 5737).
var probeRoute = routeTo(netip.AddrFrom4([4]byte{198, 51, 100, 255}))

// Probe says whether this kernel can run the mode: whether an address can be made
// the node's by a route.
func (d *Dataplane) Probe(context.Context, dataplane.Options) (dataplane.Capability, error) {
	if err := d.table.add(probeRoute, netip.Addr{}); err != nil {
		return dataplane.Capability{}, fmt.Errorf("this kernel cannot run Userspace: %w", err)
	}
	return dataplane.Capability{}, d.table.remove(probeRoute)
}
