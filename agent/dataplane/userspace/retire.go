// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"errors"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

var _ dataplane.Retirer = (*Dataplane)(nil)

var _ dataplane.Yielder = (*Dataplane)(nil)

// maxYieldErrors bounds how many errors are told: there may be one for each connection.
const maxYieldErrors = 3

// Yield tells the kernel's connection tracking of the connections to our sockets, those
// that we have not accepted included. The rules of NAT of another mode are asked about
// connections that are new to the kernel, and these would be.
func (d *Dataplane) Yield(context.Context) error {
	open, err := netdev.Connections(netdev.Namespace(d.netns))
	if err != nil {
		return err
	}
	tracked := conntrack.NewTable(d.netns)
	defer tracked.Close()
	var errs []error
	accepted := d.proxy.open.all()
	for _, c := range open {
		_, ours := accepted[connection{c.Remote, c.Local}] // perhaps by a socket that has ended
		if !ours && !d.isOurs(place{Address: c.Local.Addr(), Port: c.Local.Port(), Protocol: model.TCP}) {
			continue
		}
		if err := tracked.Establish(c.Remote, c.Local); err != nil && len(errs) < maxYieldErrors {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// greeting is for how long sockets take clients when another mode takes the new ones:
// whom the kernel has answered just before, or is about to, must not be sent away.
const greeting = time.Second

// Retire ends the sockets after a moment, and says whether the last connection that is
// open has ended. Until then its address stays the node's.
func (d *Dataplane) Retire(_ context.Context, desired model.Desired) (idle bool, err error) {
	if d.relieved.IsZero() {
		d.relieved = d.clock.Now()
	}
	if len(d.frontends) > 0 && d.clock.Since(d.relieved) < greeting {
		return false, d.follow(desired)
	}
	if !d.retired {
		d.hangUp()
		d.desired = model.NewDesired()
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
func (d *Dataplane) follow(desired model.Desired) error {
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
