// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Incoming adds our tables if there are none, with rules that only make the kernel track
// connections: those of a Proxy must be in conntrack before rules translate any. The first
// Sync replaces the tables.
func (d *Dataplane) Incoming(ctx context.Context, from dataplane.Kind) error {
	if from != dataplane.Proxy {
		return nil
	}
	return d.tables.OnlyTrack(ctx, false)
}

// Outgoing does nothing: conntrack has our connections.
func (d *Dataplane) Outgoing(context.Context, dataplane.Kind) error { return nil }

// Released replaces our tables by such tables when a Proxy has taken over, whose sockets
// get no packet that our rules match first. They are deleted after the connections have
// had some time.
func (d *Dataplane) Released(ctx context.Context, to dataplane.Kind, _ model.Desired, _ dataplane.Options) (time.Duration, error) {
	if to != dataplane.Proxy {
		return 0, nil
	}
	if d.released.IsZero() {
		if err := d.tables.OnlyTrack(ctx, true); err != nil {
			return 0, err
		}
		d.released = d.clock.Now()
	}
	return max(0, dataplane.TrackingTime-d.clock.Since(d.released)), nil
}
