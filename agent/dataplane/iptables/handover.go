// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// tracking is a chain that no other chain jumps to. Its rule makes the kernel track
// connections.
var tracking = chainID{tableNAT, prefix + "TRACKING"}

func trackingRules() []string { return []string{"-m conntrack --ctstate NEW"} }

// Incoming adds the chain, unless there are chains of ours: the connections of a Proxy
// must be in conntrack before rules translate any. The first Sync removes it.
func (d *Dataplane) Incoming(ctx context.Context, from dataplane.Kind) error {
	if from != dataplane.Proxy {
		return nil
	}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	for _, f := range d.families {
		h, err := holds(ctx, d.kernel, f.v6)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if len(h.sums) > 0 {
			continue
		}
		s := newScript()
		s.write(tracking, 1, trackingRules)
		if err := d.restore(ctx, f, s); err != nil {
			return err
		}
	}
	return nil
}

// Outgoing does nothing: conntrack has our connections.
func (d *Dataplane) Outgoing(context.Context, dataplane.Kind) error { return nil }

// Released replaces all our other chains by the tracking chain when a Proxy has taken
// over, whose sockets get no packet that our rules match first. The chain is removed after
// the connections have had some time.
func (d *Dataplane) Released(ctx context.Context, to dataplane.Kind, _ model.Desired, _ dataplane.Options) (time.Duration, error) {
	if to != dataplane.Proxy {
		return 0, nil
	}
	if d.released.IsZero() {
		if err := d.onlyTrack(ctx); err != nil {
			return 0, err
		}
		d.released = d.clock.Now()
	}
	return max(0, dataplane.TrackingTime-d.clock.Since(d.released)), nil
}

// onlyTrack removes all chains except the tracking chain. The built-in chains of the table
// nat stay: as long as one exists, the kernel translates the packets of connections in
// conntrack.
func (d *Dataplane) onlyTrack(ctx context.Context) error {
	d.known, d.ours, d.found = false, false, 0
	found, err := d.findTools(ctx)
	if err != nil {
		return err
	}
	for _, t := range found {
		for _, v6 := range []bool{false, true} {
			if err := onlyTracking(ctx, t, v6); err != nil {
				return fmt.Errorf("%s: %w", t, err)
			}
		}
	}
	return nil
}

func onlyTracking(ctx context.Context, k kernel, v6 bool) error {
	h, err := holds(ctx, k, v6)
	if err != nil {
		return err
	}
	delete(h.sums, tracking)
	s := removal(h)
	if s.ops == 0 {
		return nil
	}
	s.write(tracking, 1, trackingRules)
	return k.restore(ctx, v6, s)
}
