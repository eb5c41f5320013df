// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"errors"
	"maps"
	"net/netip"
)

// readBack reads our routes, and the addresses and links of the node. It returns how many
// routes others have added or removed.
func (d *Dataplane) readBack() (found int, err error) {
	routes, err := d.table.routes()
	if err != nil {
		return 0, err
	}
	list, err := d.table.addresses()
	if err != nil {
		return 0, err
	}
	links, err := d.table.links()
	if err != nil {
		return 0, err
	}
	own := make(map[netip.Addr]struct{}, len(list))
	for _, a := range list {
		if a.LinkIndex != virtualDevice(links) {
			own[a.Addr] = struct{}{}
		}
	}
	d.nodePorts, err = d.desired.Node.NodePortsOn(func() ([]netip.Addr, error) {
		return sorted(maps.Keys(own)), nil
	})
	if err != nil {
		return 0, err
	}
	d.source, d.stale = sourceAmong(own, d.nodePorts), map[route]struct{}{}
	known := make(map[route]struct{}, len(routes))
	for r, source := range routes {
		known[r] = struct{}{}
		if _, there := own[source]; source.IsValid() && !there {
			d.stale[r] = struct{}{}
		}
	}
	if in := newInside(d.desired.Node, links, list); !in.equal(d.inside.Load()) {
		d.inside.Store(in)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.adopted {
		found = missing(known, d.routes) + missing(d.routes, known) + len(d.stale)
	}
	d.routes, d.own, d.settings = known, own, d.desired.Node
	return found, nil
}

// sourceAmong returns the address that processes of the node connect to Services from:
// preferably one that node ports answer on. The kernel would use the Service's address
// (IPv4), which is removed from the node when another mode takes over, while the
// connection goes on.
func sourceAmong(own, nodePorts map[netip.Addr]struct{}) netip.Addr {
	for _, addresses := range []map[netip.Addr]struct{}{nodePorts, own} {
		for _, a := range sorted(maps.Keys(addresses)) {
			if _, there := own[a]; there && a.Is4() && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
				return a
			}
		}
	}
	return netip.Addr{}
}

// virtualDevice returns the index of the device that holds the addresses of Services in
// the mode IPVS, ours and kube-proxy's: these are not addresses of the node, and will be
// removed. 0: there is none.
func virtualDevice(links []link) int {
	for _, l := range links {
		if l.name == "kube-ipvs0" {
			return l.index
		}
	}
	return 0
}

// missing counts the routes of a that are not in b.
func missing(a, b map[route]struct{}) (n int) {
	for r := range a {
		if _, ok := b[r]; !ok {
			n++
		}
	}
	return n
}

// isOwn says whether the node has an address itself: then it needs no route.
func (d *Dataplane) isOwn(a netip.Addr) bool {
	_, own := d.own[a]
	return own
}

// setRoutes adds missing routes and removes superfluous ones, except those to addresses
// with open connections.
func (d *Dataplane) setRoutes(wanted map[route]struct{}) (ops int, err error) {
	var errs []error
	for r := range wanted {
		_, have := d.routes[r]
		if _, stale := d.stale[r]; !have || stale {
			n, err := d.setRoute(r, true)
			ops, errs = ops+n, append(errs, err)
		}
	}
	open, awaited := d.proxy.open.open(), map[netip.Addr]struct{}{}
	for r := range maps.Clone(d.routes) {
		if _, ok := wanted[r]; ok {
			continue
		}
		if !r.isGuard() && open[r.Addr()] > 0 && !d.isOwn(r.Addr()) {
			awaited[r.Addr()] = struct{}{}
			continue
		}
		n, err := d.setRoute(r, false)
		ops, errs = ops+n, append(errs, err)
	}
	d.proxy.open.await(awaited)
	return ops, errors.Join(errs...)
}

// followRoute keeps the route to a virtual address as long as a frontend or a connection
// needs it.
func (d *Dataplane) followRoute(a netip.Addr) (ops int, err error) {
	r, want := routeTo(a), d.vips[a] > 0 && !d.isOwn(a)
	if _, have := d.routes[r]; have == want {
		return 0, nil
	}
	if !want && !d.isOwn(a) && d.proxy.open.open()[a] > 0 {
		d.proxy.open.awaitMore(a)
		return 0, nil
	}
	return d.setRoute(r, want)
}

// setRoute adds or removes a route.
func (d *Dataplane) setRoute(r route, add bool) (ops int, err error) {
	do := d.table.remove
	if add {
		do = func(r route) error { return d.table.add(r, d.source) }
	}
	d.noteRoute(r, add) // before its notification
	if err := do(r); err != nil {
		d.noteRoute(r, !add)
		return 0, err
	}
	return 1, nil
}

func (d *Dataplane) noteRoute(r route, there bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if there {
		d.routes[r] = struct{}{}
	} else {
		delete(d.routes, r)
	}
}
