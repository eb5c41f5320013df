// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// notifyBuffer is how many notifications of addresses the kernel keeps for us, in bytes; of
// one it takes about 1 KiB.
const notifyBuffer = 32 << 20

// Watch calls changed when the table or the node's addresses were changed
// externally. The kernel does not notify of changes in IPVS, see nextLook.
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
	group.Wait()
	return errors.Join(<-errs, <-errs)
}

// watchAddresses calls changed after changes of addresses that are not our own.
func (d *Dataplane) watchAddresses(ctx context.Context, changed func()) error {
	updates := make(chan netlink.AddrUpdate, 64)
	failed := make(chan error, 1)
	options := netlink.AddrSubscribeOptions{
		// Of our own changes there may be thousands at once.
		ReceiveBufferSize: notifyBuffer, ReceiveBufferForceSize: true,
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
		return fmt.Errorf("listen for changes of addresses: %w", err)
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
			return fmt.Errorf("listen for changes of addresses: %w", err)
		case u, ok := <-updates:
			if !ok {
				return nil
			}
			if addr, valid := netip.AddrFromSlice(u.LinkAddress.IP); valid && d.isNews(addr.Unmap(), u.LinkIndex, u.NewAddr) {
				changed()
			}
		}
	}
}

// isNews says whether an address that came or went is not where we know it to be.
func (d *Dataplane) isNews(a netip.Addr, link int, came bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	where := d.elsewhere
	if d.device.is(link) {
		where = d.bound
	}
	_, known := where[a]
	return came != known
}
