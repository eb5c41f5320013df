// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/nattable"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// releaseInterval is how often open connections are checked.
const releaseInterval = 2 * time.Second

// closingTime is how long new connections are dropped before a Proxy gets the packets: less
// than the time after which TCP tries again (1 s), and enough for what has just been opened.
const closingTime = 900 * time.Millisecond

// Incoming adds the nftables tables, without rules that have an effect, if there are none:
// the connections of a Proxy must be in conntrack.
func (d *Dataplane) Incoming(ctx context.Context, from dataplane.Kind) error {
	d.replaces = from
	if from != dataplane.Proxy {
		return nil
	}
	return d.filter.OnlyTrack(ctx, false)
}

// Inherit makes the virtual servers of kube-proxy ours that our table does not have: node ports on addresses that they do
// not answer on any more. Those on our device are ours anyway.
func (d *Dataplane) Inherit() { d.known, d.inherits = false, true }

// plan plans the tables. While a Proxy is active, the addresses of Services are local to
// the node already, so a virtual server gets packets as soon as it exists, and rejects them
// until it has real servers. So the tables first drop new connections: TCP tries them again
// within a second, when the virtual servers are complete.
func (d *Dataplane) plan(ctx context.Context, desired model.Desired) (nattable.Found, error) {
	if d.replaces != dataplane.Proxy {
		return d.filter.Plan(ctx, desired)
	}
	found, err := d.filter.Plan(ctx, dropping(desired, model.TCP, model.UDP, model.SCTP))
	if err != nil {
		return found, err
	}
	if _, err := d.filter.Commit(ctx); err != nil {
		return found, err
	}
	_, err = d.filter.Plan(ctx, desired)
	return found, err
}

// dropping returns the desired state with frontends of some protocols that drop instead of
// forwarding.
func dropping(desired model.Desired, protocols ...model.Protocol) model.Desired {
	frontends := make(map[model.FrontendKey]*model.Frontend, len(desired.Frontends))
	for key, f := range desired.Frontends {
		if !slices.Contains(protocols, key.Protocol) {
			frontends[key] = f
			continue
		}
		drops := *f
		for _, b := range []*model.Backend{&drops.Internal, &drops.External} {
			if b.Verdict == model.Forward {
				*b = model.Backend{Verdict: model.Drop}
			}
		}
		frontends[key] = &drops
	}
	desired.Frontends = frontends
	return desired
}

// tookOver ends a Sync while another mode is active. If it has failed, the tables must not
// drop the connections of a Proxy.
func (d *Dataplane) tookOver(ctx context.Context, failure error) error {
	if failure != nil && d.replaces == dataplane.Proxy {
		return errors.Join(failure, d.filter.OnlyTrack(context.WithoutCancel(ctx), true))
	}
	if failure == nil {
		d.replaces = 0
	}
	return failure
}

// Outgoing prepares the virtual addresses for connections of the new mode, see sources. The
// kernel has our own connections.
func (d *Dataplane) Outgoing(context.Context, dataplane.Kind) error {
	return d.vips.setSources(d.desired.Node)
}

// Released waits for the last connection through our virtual servers, at most for their
// drain time. A Proxy cannot wait for it: its sockets get no packets while the addresses
// are on our device.
func (d *Dataplane) Released(ctx context.Context, to dataplane.Kind, desired model.Desired, o dataplane.Options) (time.Duration, error) {
	if to == dataplane.Proxy {
		return d.closed(ctx)
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
	if err := d.vips.setSources(desired.Node); err != nil {
		return 0, err
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

// closed drops new connections of TCP, which are tried again, and waits until those that have
// been opened before have had theirs: the kernel would drop their packets without the real
// server. It waits here instead of asking to be called again, because the Proxy gets no
// packets yet: nothing that the agent programs or reports in this time would be true.
func (d *Dataplane) closed(ctx context.Context) (time.Duration, error) {
	if !d.adopted {
		return 0, nil // what the tables hold is not known
	}
	if !d.released.IsZero() {
		return 0, nil // the clean-up after it has failed, and is tried again
	}
	if _, err := d.filter.Plan(ctx, dropping(d.filter.Desired(), model.TCP)); err != nil {
		return 0, err
	}
	if _, err := d.filter.Commit(ctx); err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return closingTime, nil
	case <-d.clock.After(closingTime):
		d.released = d.clock.Now()
		return 0, nil
	}
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
	_, err := d.readAll(&r, c, nattable.Found{})
	return err
}
