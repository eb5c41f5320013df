// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

const (
	// acceptGrace is how long sockets still accept clients after another mode takes the
	// new ones: a client that the kernel has just answered, or is about to, must not be
	// reset.
	acceptGrace = time.Second

	// releaseInterval is how often open connections are counted after that.
	releaseInterval = 2 * time.Second

	// maxErrors bounds how many errors are reported: there may be one for each connection.
	maxErrors = 3
)

// Incoming does nothing: the rules of other modes are removed once our sockets exist.
func (d *Dataplane) Incoming(context.Context, dataplane.Kind) error { return nil }

// Outgoing adds the connections to our sockets to the kernel's connection tracking,
// including those that we have not accepted yet, and ours to endpoints. The rules of another
// mode apply to connections that are new to the kernel, and these would be.
func (d *Dataplane) Outgoing(ctx context.Context, _ dataplane.Kind) error {
	d.proxy.tracking.expect()
	tracked := conntrack.NewTable(d.netns)
	defer tracked.Close()
	entries, failed := entriesTo(ctx, tracked, d.isOurs) // before open
	open, err := netdev.Connections(netdev.Namespace(d.netns))
	if err != nil {
		return errors.Join(failed, err)
	}
	errs := []error{failed}
	note := func(err error) {
		if err != nil && len(errs) < maxErrors {
			errs = append(errs, err)
		}
	}
	accepted := d.proxy.open.all()
	for _, c := range open {
		delete(entries, connection{c.Remote, c.Local})
		_, ours := accepted[connection{c.Remote, c.Local}] // perhaps by a socket that is closed already
		if ours || d.isOurs(placeOf(c.Local)) {
			note(forgetTranslated(tracked, connection{c.Remote, c.Local}))
			note(tracked.Establish(c.Remote, c.Local))
		}
	}
	for _, e := range entries {
		_, err := tracked.Delete(e)
		note(err)
	}
	for _, c := range d.proxy.open.toEndpoints() {
		note(keepPort(tracked, c))
	}
	return errors.Join(errs...)
}

// entriesTo returns the entries of connections to our sockets. Connection tracking ends while a
// Proxy is active, and keeps the entry of what was open in that moment for days. The next
// connection from the same port would follow it, and no rule would translate it.
func entriesTo(ctx context.Context, table *conntrack.Table, isOurs func(place) bool) (map[connection]conntrack.Entry, error) {
	out := map[connection]conntrack.Entry{}
	for _, v6 := range []bool{false, true} {
		err := table.Dump(ctx, conntrack.Filter{V6: v6, Protocol: unix.IPPROTO_TCP}, func(e conntrack.Entry) {
			if e.Destination == e.Endpoint && !e.OtherZone && isOurs(placeOf(e.Destination)) {
				out[connection{e.Source, e.Destination}] = e.Clone()
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func placeOf(a netip.AddrPort) place {
	return place{Address: a.Addr(), Port: a.Port(), Protocol: model.TCP}
}

// Released closes the sockets after acceptGrace, and waits for the last open connection.
// Until it is closed its address stays local to the node. Another Proxy has sockets in the
// same places, so there is nothing to wait for.
func (d *Dataplane) Released(_ context.Context, to dataplane.Kind, desired model.Desired, _ dataplane.Options) (time.Duration, error) {
	if to == dataplane.Proxy {
		return 0, nil
	}
	if d.released.IsZero() {
		d.released = d.clock.Now()
	}
	if grace := acceptGrace - d.clock.Since(d.released); len(d.frontends) > 0 && grace > 0 {
		return grace, d.follow(desired)
	}
	if !d.hungUp {
		d.hangUp()
		d.desired = model.NewDesired()
		if _, err := d.routing.read(d.desired.Node); err != nil {
			return 0, err
		}
		d.known, d.routing.adopted, d.hungUp = false, false, true
	}
	if _, err := d.routing.set(nil); err != nil {
		return 0, err
	}
	if len(d.proxy.open.open()) > 0 {
		return releaseInterval, nil
	}
	return 0, nil
}

// follow removes frontends that are no longer desired, and updates the others. It adds
// none.
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
