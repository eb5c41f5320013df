// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules"
)

var _ dataplane.Retirer = (*Dataplane)(nil)

var _ dataplane.Yielder = (*Dataplane)(nil)

// Yield tells the kernel's connection tracking of the open connections, and of new
// ones from now on. The rules of NAT of another mode are asked about connections
// that are new to the kernel, and these would be.
func (d *Dataplane) Yield(context.Context) error {
	d.tracked = conntrack.NewNetlink(d.netns)
	establish := d.tracked.Establish
	return d.proxy.open.announceAll(func(c *connection) error { return establish(c.client, c.local) })
}

// stopYielding is for when this mode is in force again, or all is over.
func (d *Dataplane) stopYielding() {
	if d.tracked != nil {
		_ = d.proxy.open.announceAll(nil)
		d.tracked.Close()
		d.tracked = nil
	}
}

// greeting is for how long sockets take clients when another mode takes the new ones:
// whom the kernel has answered just before, or is about to, must not be sent away.
const greeting = time.Second

// Retire ends the sockets after a moment, and says whether the last connection that is
// open has ended. Until then its address stays the node's.
func (d *Dataplane) Retire(_ context.Context, desired rules.Desired) (idle bool, err error) {
	if d.relieved.IsZero() {
		d.relieved = d.clock.Now()
	}
	if len(d.frontends) > 0 && d.clock.Since(d.relieved) < greeting {
		return false, d.follow(desired)
	}
	if !d.retired {
		d.hangUp()
		d.desired = rules.NewDesired()
		if _, err := d.readBack(); err != nil {
			return false, err
		}
		d.known, d.adopted, d.retired = false, false, true
	}
	if _, err := d.setRoutes(nil); err != nil {
		return false, err
	}
	return len(d.proxy.open.open()) == 0, nil
}

// follow lets frontends go that are not desired any more, and makes the others as they
// are desired. It makes none.
func (d *Dataplane) follow(desired rules.Desired) error {
	for key := range d.frontends {
		f := desired.Frontends[key]
		if f == nil {
			d.takeDown(key)
		} else if _, err := d.putUp(f); err != nil {
			return err
		}
	}
	return nil
}
