// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// change is the new state of some virtual servers, nil for one to delete, and the
// addresses to check because of it.
type change struct {
	wanted    map[serverKey]*wantedServer
	addresses map[netip.Addr]struct{}
}

func newChange(size int) change {
	return change{wanted: make(map[serverKey]*wantedServer, size), addresses: make(map[netip.Addr]struct{}, size)}
}

func (c *change) want(servers map[serverKey]wantedServer) {
	for key, w := range servers {
		c.wanted[key] = &w
	}
}

// unwant marks a virtual server for deletion, unless it is wanted.
func (c *change) unwant(key serverKey) {
	if _, ok := c.wanted[key]; !ok {
		c.wanted[key] = nil
	}
}

// touch marks the address of a frontend to be checked.
func (c *change) touch(key model.FrontendKey) {
	if !key.IsNodePort() {
		c.addresses[key.Address] = struct{}{}
	}
}

// carryOut makes a change: first new virtual servers, because without them a packet would
// reach the node itself; then the tables that lead to them, and the addresses; then
// deletions.
func (d *Dataplane) carryOut(ctx context.Context, c change) (stats dataplane.Result, err error) {
	before := d.servers.ops
	defer func() {
		stats.Operations += d.servers.ops - before
		stats.Unsupported, stats.NextLook = d.limits.limitations(&d.desired, d.servers.refused), d.nextLook()
	}()
	cleared, err := d.vips.clearSources()
	if err != nil {
		return stats, err
	}
	var errs []error
	for key, want := range c.wanted {
		if want != nil {
			errs = append(errs, d.servers.grow(key, *want))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return stats, err
	}
	early := 0
	if d.replaces == dataplane.NAT {
		// The tables may replace those of the other mode, which translate packets to the
		// addresses: then these must be there.
		if early, err = d.vips.bind(c.addresses); err != nil {
			return stats, err
		}
	}
	stats, err = d.filter.Commit(ctx)
	stats.Operations += cleared + early
	if err != nil {
		return stats, err
	}
	bound, err := d.vips.bind(c.addresses)
	stats.Operations += bound
	if err != nil {
		return stats, err
	}
	for key, want := range c.wanted {
		errs = append(errs, d.servers.shrink(key, want, d.settings.Drain))
	}
	return stats, errors.Join(append(errs, d.unbind(ctx, c.addresses, &stats))...)
}

// unbind removes those of the addresses from our device that are no longer needed. Only
// after that the table stops rejecting packets to them.
func (d *Dataplane) unbind(ctx context.Context, addresses map[netip.Addr]struct{}, stats *dataplane.Result) error {
	removed, err := d.vips.unbind(addresses, d.servers.drainsOn)
	stats.Operations += len(removed)
	if err != nil {
		return err
	}
	var delta model.Delta
	inTable := d.filter.Desired().ClusterIPs
	for _, a := range removed {
		if _, ok := inTable[a]; ok {
			delta.ClusterIPs.Removed = append(delta.ClusterIPs.Removed, a)
		}
	}
	if delta.Empty() {
		return nil
	}
	if err := d.filter.PlanDelta(delta); err != nil {
		return err
	}
	more, err := d.filter.Commit(ctx)
	stats.Operations += more.Operations
	return err
}

// drainInterval is how often draining real servers are checked.
const drainInterval = 2 * time.Second

// nextLook returns the time until the next Sync: IPVS has to be read back, because the
// kernel does not notify of changes in it, and draining real servers have to be deleted.
func (d *Dataplane) nextLook() time.Duration {
	wait := d.servers.interval(d.settings.ReadBack, d.readTime) - d.clock.Since(d.lastRead)
	if len(d.servers.draining) > 0 {
		wait = min(wait, drainInterval-d.clock.Since(d.synced))
	}
	return max(1, wait)
}
