// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"slices"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/nattable"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// releaseInterval is how often open connections are looked for.
const releaseInterval = 2 * time.Second

// Incoming makes the table of nftables, without rules that do anything, if there is
// none: the connections of a Proxy must be known to connection tracking.
func (d *Dataplane) Incoming(ctx context.Context, from dataplane.Kind) error {
	if from != dataplane.Proxy {
		return nil
	}
	return d.filter.OnlyTrack(ctx, false)
}

// Outgoing does nothing: the kernel has our connections.
func (d *Dataplane) Outgoing(context.Context, dataplane.Kind) error { return nil }

// Released looks for the last connection through our virtual servers, which may have
// the time that draining ones have. A Proxy cannot wait for it: it meets nothing while
// the addresses are on our device.
func (d *Dataplane) Released(_ context.Context, to dataplane.Kind, desired model.Desired, o dataplane.Options) (time.Duration, error) {
	if to == dataplane.Proxy {
		return 0, nil
	}
	d.settings = settingsOf(o)
	if d.released.IsZero() {
		if err := d.recognise(desired); err != nil {
			return 0, err
		}
		d.released = d.clock.Now()
	}
	if d.clock.Since(d.released) >= d.settings.Drain {
		return 0, nil
	}
	// A server that was busy a moment ago most often is.
	if busy, err := d.busy(d.busiest); busy || err != nil {
		return releaseInterval, err
	}
	for key := range d.servers.byKey {
		if busy, err := d.busy(key); busy || err != nil {
			d.busiest = key
			return releaseInterval, err
		}
	}
	return 0, nil
}

// busy says whether one of our virtual servers has open connections.
func (d *Dataplane) busy(key serverKey) (bool, error) {
	if d.servers.byKey[key] == nil {
		return false, nil
	}
	reals, err := d.kernel.realServers(key)
	return slices.ContainsFunc(reals, func(r realServer) bool { return r.active > 0 }), err
}

// recognise finds what another Dataplane has left. The table that says what is
// ours is another mode's by now, so a node port is ours if it is one still.
func (d *Dataplane) recognise(desired model.Desired) error {
	if d.adopted {
		return nil
	}
	if _, err := d.readAddresses(); err != nil {
		return err
	}
	r, c := serverRules{settings: d.settings, nodePorts: d.elsewhere}, newChange(len(desired.Frontends))
	for _, f := range desired.Frontends {
		c.want(r.servers(f, 0))
	}
	_, err := d.readBack(&r, c, nattable.Found{}, true)
	return err
}
