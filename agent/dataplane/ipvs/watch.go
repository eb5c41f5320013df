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

// notifyBuffer is the size in bytes of the socket buffer for address notifications. Each
// takes about 1 KiB there.
const notifyBuffer = 32 << 20

// Watch calls changed when the table or the node's addresses were changed externally. The
// kernel does not notify of changes in IPVS, see nextLook.
func (d *Dataplane) Watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	errs := make(chan error, 2)
	for _, watch := range []func(context.Context, func()) error{d.filter.Watch, d.vips.watch} {
		group.Go(func() {
			defer cancel()
			errs <- watch(ctx, changed)
		})
	}
	group.Wait()
	return errors.Join(<-errs, <-errs)
}

// watch calls changed after changes of addresses by others.
func (v *vips) watch(ctx context.Context, changed func()) error {
	updates := make(chan netlink.AddrUpdate, 64)
	failed := make(chan error, 1)
	options := netlink.AddrSubscribeOptions{
		// Thousands of notifications of our own changes may arrive at once.
		ReceiveBufferSize: notifyBuffer, ReceiveBufferForceSize: true,
		ErrorCallback: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
	}
	if v.netns != 0 {
		ns := netns.NsHandle(v.netns)
		options.Namespace = &ns
	}
	if err := netlink.AddrSubscribeWithOptions(updates, ctx.Done(), options); err != nil {
		return fmt.Errorf("subscribe to addresses: %w", err)
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
			return fmt.Errorf("watch addresses: %w", err)
		case u, ok := <-updates:
			if !ok {
				return nil
			}
			if addr, valid := netip.AddrFromSlice(u.LinkAddress.IP); valid && v.isExternal(addr.Unmap(), u.LinkIndex, u.NewAddr) {
				changed()
			}
		}
	}
}
