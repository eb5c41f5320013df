// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/nattable"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// releaseInterval is how often open connections are checked.
const releaseInterval = 2 * time.Second

// Incoming adds the nftables tables, without rules that have an effect, if there are none:
// the connections of a Proxy must be in conntrack.
func (d *Dataplane) Incoming(ctx context.Context, from dataplane.Kind) error {
	if from != dataplane.Proxy {
		return nil
	}
	return d.filter.OnlyTrack(ctx, false)
}

// Outgoing does nothing: the kernel has our connections.
func (d *Dataplane) Outgoing(context.Context, dataplane.Kind) error { return nil }

// Released waits for the last connection through our virtual servers, at most for their
// drain time. A Proxy cannot wait for it: its sockets get no packets while the addresses
// are on our device.
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
	// A server that was busy a moment ago usually still is.
	if busy, err := d.servers.busy(d.busiest); busy || err != nil {
		return releaseInterval, err
	}
	for key := range d.servers.byKey {
		if busy, err := d.servers.busy(key); busy || err != nil {
			d.busiest = key
			return releaseInterval, err
		}
	}
	return 0, nil
}

// recognise finds the virtual servers that another Dataplane has left. The table that
// records ours belongs to another mode by now, so a virtual server of a node port is ours
// if the node port still exists.
func (d *Dataplane) recognise(desired model.Desired) error {
	if d.adopted {
		return nil
	}
	if _, err := d.vips.read(); err != nil {
		return err
	}
	r, c := serverRules{settings: d.settings, nodePorts: d.vips.elsewhere}, newChange(len(desired.Frontends))
	for _, f := range desired.Frontends {
		c.want(r.servers(f, 0))
	}
	_, err := d.readBack(&r, c, nattable.Found{}, true)
	return err
}
