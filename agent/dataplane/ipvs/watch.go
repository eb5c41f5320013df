// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// drainInterval is how often draining real servers are looked at.
const drainInterval = 2 * time.Second

// Watch calls changed when the table or the node's addresses were changed by
// others, and, because the kernel tells nobody of changes in IPVS, when it is time
// to read that back or to look at what drains.
func (d *Dataplane) Watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	errs := make(chan error, 2)
	for _, watch := range []func(context.Context, func()) error{d.filter.Watch, d.watchAddresses} {
		group.Go(func() {
			defer cancel()
			errs <- watch(ctx, changed)
		})
	}
	d.tick(ctx, changed)
	group.Wait()
	return errors.Join(<-errs, <-errs)
}

// tick calls changed at the times that Watch names.
func (d *Dataplane) tick(ctx context.Context, changed func()) {
	last := d.clock.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.clock.After(drainInterval):
		}
		d.mu.Lock()
		due := d.draining || d.readBack > 0 && d.clock.Since(last) >= d.readBack
		d.mu.Unlock()
		if due {
			last = d.clock.Now()
			changed()
		}
	}
}

// watchAddresses calls changed for news of addresses that are not our own doing.
func (d *Dataplane) watchAddresses(ctx context.Context, changed func()) error {
	updates := make(chan netlink.AddrUpdate, 64)
	failed := make(chan error, 1)
	options := netlink.AddrSubscribeOptions{
		// What does not fit is lost, and found by the next read-back.
		ErrorCallback: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
	}
	if d.netns != 0 {
		ns := netns.NsHandle(d.netns)
		options.Namespace = &ns
	}
	if err := netlink.AddrSubscribeWithOptions(updates, ctx.Done(), options); err != nil {
		return fmt.Errorf("listening to news of addresses: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			changed()
			return fmt.Errorf("listening to news of addresses: %w", err)
		case u, ok := <-updates:
			if !ok {
				return nil
			}
			if addr, valid := netip.AddrFromSlice(u.LinkAddress.IP); valid && d.isNews(addr.Unmap(), u.NewAddr) {
				changed()
			}
		}
	}
}

// isNews says whether an address that came or went is not where we know it to be.
func (d *Dataplane) isNews(a netip.Addr, came bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, bound := d.bound[a]
	_, elsewhere := d.elsewhere[a]
	return came != (bound || elsewhere)
}
