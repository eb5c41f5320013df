// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/nftables"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

var _ dataplane.Retirer = (*Dataplane)(nil)

// Retire says whether the last connection through our virtual servers is over, or
// has had the time that draining ones have.
func (d *Dataplane) Retire(_ context.Context, desired model.Desired) (idle bool, err error) {
	if d.retired.IsZero() {
		if err := d.recognise(desired); err != nil {
			return false, err
		}
		d.retired = d.clock.Now()
	}
	if d.clock.Since(d.retired) >= desired.Node.IPVS.Drain {
		return true, nil
	}
	// A server that was busy a moment ago most often is.
	if busy, err := d.busy(d.busiest); busy || err != nil {
		return false, err
	}
	for key := range d.servers.byKey {
		if busy, err := d.busy(key); busy || err != nil {
			d.busiest = key
			return false, err
		}
	}
	return true, nil
}

// busy says whether one of our virtual servers has open connections.
func (d *Dataplane) busy(key serverKey) (bool, error) {
	if d.servers.byKey[key] == nil {
		return false, nil
	}
	reals, err := d.kernel.realServers(key)
	return slices.ContainsFunc(reals, func(r realServer) bool { return r.active > 0 }), err
}

// recognise finds what another Dataplane has left. The table that told what is
// ours is another mode's by now, so a node port is ours if it is one still.
func (d *Dataplane) recognise(desired model.Desired) error {
	if d.adopted {
		return nil
	}
	if _, err := d.readAddresses(); err != nil {
		return err
	}
	r, c := serverRules{settings: desired.Node.IPVS, nodePorts: d.elsewhere}, newChange(len(desired.Frontends))
	for _, f := range desired.Frontends {
		c.want(r.servers(f, 0))
	}
	_, err := d.readBack(&r, c, nftables.Planned{}, true)
	return err
}
