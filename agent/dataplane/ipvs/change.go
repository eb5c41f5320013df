// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"net/netip"

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
func (d *Dataplane) carryOut(ctx context.Context, c change, node model.NodeSettings) (stats dataplane.Stats, err error) {
	before := d.servers.ops
	defer func() {
		stats.Operations += d.servers.ops - before
		stats.Lacking = d.lacking(node)
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
		errs = append(errs, d.servers.shrink(key, want, node.IPVS.Drain))
	}
	d.schedule(node.IPVS)
	return stats, errors.Join(append(errs, d.unbind(ctx, c.addresses, &stats))...)
}

// schedule tells Watch when to look again.
func (d *Dataplane) schedule(settings model.IPVSSettings) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.draining = len(d.servers.draining) > 0
	d.interval = d.servers.interval(settings.ReadBack, d.readTime)
}
