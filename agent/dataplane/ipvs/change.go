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

// change is what to make of some virtual servers, nil for one that shall go, and
// which addresses to look at because of it.
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

// unwant lets a virtual server go, unless it is wanted.
func (c *change) unwant(key serverKey) {
	if _, ok := c.wanted[key]; !ok {
		c.wanted[key] = nil
	}
}

// touch has the address of a frontend looked at.
func (c *change) touch(key model.FrontendKey) {
	if !key.IsNodePort() {
		c.addresses[key.Address] = struct{}{}
	}
}

// carryOut makes a change: first the virtual servers that are new, for without
// them a packet would reach the node itself; then the table that leads to them,
// and the addresses; then what is to go.
func (d *Dataplane) carryOut(ctx context.Context, c change) (stats dataplane.Result, err error) {
	before := d.servers.ops
	defer func() {
		stats.Operations += d.servers.ops - before
		stats.Unsupported, stats.NextLook = d.limitations(), d.nextLook()
	}()
	var errs []error
	for key, want := range c.wanted {
		if want != nil {
			errs = append(errs, d.servers.grow(key, *want))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return stats, err
	}
	if stats, err = d.filter.Commit(ctx); err != nil {
		return stats, err
	}
	if err := d.bind(c.addresses, &stats); err != nil {
		return stats, err
	}
	for key, want := range c.wanted {
		errs = append(errs, d.servers.shrink(key, want, d.settings.Drain))
	}
	return stats, errors.Join(append(errs, d.unbind(ctx, c.addresses, &stats))...)
}

// drainInterval is how often draining real servers are looked at.
const drainInterval = 2 * time.Second

// nextLook is after which time to look again: IPVS has to be read back, because the
// kernel does not notify of changes in it, and draining real servers have to go.
func (d *Dataplane) nextLook() time.Duration {
	wait := d.servers.interval(d.settings.ReadBack, d.readTime) - d.clock.Since(d.lastRead)
	if len(d.servers.draining) > 0 {
		wait = min(wait, drainInterval-d.clock.Since(d.synced))
	}
	return max(1, wait)
}
