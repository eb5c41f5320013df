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

// notifyBuffer is the size in bytes of the socket buffer for route notifications. Each
// takes about 1 KiB there, and thousands of our own may arrive at once.
const notifyBuffer = 32 << 20

// Watch calls changed when others have changed our routes, when the node's addresses have
// changed or its links that lead to Pods, and when the last connection has closed to an
// address that only waits for it.
func (d *Dataplane) Watch(ctx context.Context, changed func()) error {
	return d.routing.watch(ctx, changed)
}

func (t *routing) watch(ctx context.Context, changed func()) error {
	t.setChanged(changed)
	defer t.setChanged(func() {})
	defer t.open.watch(changed)()
	routes, addresses, links := make(chan netlink.RouteUpdate, 64), make(chan netlink.AddrUpdate, 64), make(chan netlink.LinkUpdate, 64)
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	var space *netns.NsHandle
	if t.netns != 0 {
		ns := netns.NsHandle(t.netns)
		space = &ns
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := ctx.Done()
	err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{
		Namespace: space, ErrorCallback: fail, ReceiveBufferSize: notifyBuffer, ReceiveBufferForceSize: true})
	if err == nil {
		err = netlink.AddrSubscribeWithOptions(addresses, done, netlink.AddrSubscribeOptions{Namespace: space, ErrorCallback: fail})
	}
	if err == nil {
		err = netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{Namespace: space, ErrorCallback: fail})
	}
	if err != nil {
		return fmt.Errorf("subscribe to routes, addresses and links: %w", err)
	}
	for {
		var external bool
		select {
		case <-done:
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			changed()
			return fmt.Errorf("watch routes, addresses and links: %w", err)
		case u := <-routes:
			external = t.isExternalRoute(u)
		case u := <-addresses:
			external = t.isExternalAddress(u)
		case u := <-links:
			external = t.isExternalLink(u)
		}
		if external {
			changed()
		}
	}
}

func (t *routing) setChanged(changed func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed = changed
}

// wake calls the function that Watch was given.
func (t *routing) wake() {
	t.mu.Lock()
	changed := t.changed
	t.mu.Unlock()
	changed()
}

// isExternalRoute says whether others added or removed one of our routes.
func (t *routing) isExternalRoute(u netlink.RouteUpdate) bool {
	r, ours := routeOf(u.Route)
	if !ours || r == probeRoute {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, known := t.routes[r]
	return known != (u.Type == unix.RTM_NEWROUTE)
}

func (t *routing) isExternalAddress(u netlink.AddrUpdate) bool {
	a, ok := netip.AddrFromSlice(u.LinkAddress.IP)
	t.mu.Lock()
	defer t.mu.Unlock()
	_, known := t.own[a.Unmap()]
	if known && !u.NewAddr {
		delete(t.own, a.Unmap()) // a Service with it needs its route before the next read
	}
	return ok && t.own != nil && known != u.NewAddr
}

// isExternalLink says whether a link that leads to Pods was added or removed.
func (t *routing) isExternalLink(u netlink.LinkUpdate) bool {
	if u.Link == nil {
		return false
	}
	t.mu.Lock()
	leads := leadsToPods(t.settings, u.Attrs().Name)
	t.mu.Unlock()
	known := slices.Contains(t.inside.Load().podLinks, u.Attrs().Index)
	return leads != known || known && u.Header.Type == unix.RTM_DELLINK
}
