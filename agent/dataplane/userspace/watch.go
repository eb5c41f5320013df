// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// newsBuffer is how many notifications of routes the kernel keeps for us, in bytes; of
// one it takes about 1 KiB, and of our own there may be thousands at once.
const newsBuffer = 32 << 20

// Watch calls changed when others have changed our routes, when the node's
// addresses have changed or its links that Pods are told by, and when the last
// connection to an address has ended that only waits for it.
func (d *Dataplane) Watch(ctx context.Context, changed func()) error {
	d.setChanged(changed)
	defer d.setChanged(func() {})
	defer d.proxy.open.watch(changed)()
	routes, addresses, links := make(chan netlink.RouteUpdate, 64), make(chan netlink.AddrUpdate, 64), make(chan netlink.LinkUpdate, 64)
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	var space *netns.NsHandle
	if d.netns != 0 {
		ns := netns.NsHandle(d.netns)
		space = &ns
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := ctx.Done()
	err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{
		Namespace: space, ErrorCallback: fail, ReceiveBufferSize: newsBuffer, ReceiveBufferForceSize: true})
	if err == nil {
		err = netlink.AddrSubscribeWithOptions(addresses, done, netlink.AddrSubscribeOptions{Namespace: space, ErrorCallback: fail})
	}
	if err == nil {
		err = netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{Namespace: space, ErrorCallback: fail})
	}
	if err != nil {
		return fmt.Errorf("listening to news of routes, addresses and links: %w", err)
	}
	for {
		var news bool
		select {
		case <-done:
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			changed()
			return fmt.Errorf("listening to news of routes, addresses and links: %w", err)
		case u := <-routes:
			news = d.isRouteNews(u)
		case u := <-addresses:
			news = d.isAddressNews(u)
		case u := <-links:
			news = d.isLinkNews(u)
		}
		if news {
			changed()
		}
	}
}

func (d *Dataplane) setChanged(changed func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed = changed
}

// wake tells Watch's caller.
func (d *Dataplane) wake() {
	d.mu.Lock()
	changed := d.changed
	d.mu.Unlock()
	changed()
}

// isRouteNews says whether a route of ours came or went that we have not.
func (d *Dataplane) isRouteNews(u netlink.RouteUpdate) bool {
	r, ours := routeOf(u.Route)
	if !ours || r == probeRoute {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, known := d.routes[r]
	return known != (u.Type == unix.RTM_NEWROUTE)
}

func (d *Dataplane) isAddressNews(u netlink.AddrUpdate) bool {
	a, ok := netip.AddrFromSlice(u.LinkAddress.IP)
	d.mu.Lock()
	defer d.mu.Unlock()
	_, known := d.own[a.Unmap()]
	return ok && d.own != nil && known != u.NewAddr
}

// isLinkNews says whether a link came or went that Pods are told by.
func (d *Dataplane) isLinkNews(u netlink.LinkUpdate) bool {
	if u.Link == nil {
		return false
	}
	d.mu.Lock()
	leads := leadsToPods(d.settings, u.Attrs().Name)
	d.mu.Unlock()
	known := slices.Contains(d.inside.Load().podLinks, u.Attrs().Index)
	return leads != known || known && u.Header.Type == unix.RTM_DELLINK
}
