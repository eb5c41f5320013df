// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// routing is our routes, and what is known of the node's addresses and links.
type routing struct {
	table table
	netns int
	open  *Connections

	inside    atomic.Pointer[inside]
	nodePorts map[netip.Addr]struct{} // the addresses that node ports answer on
	source    netip.Addr              // source of connections of the node's processes
	stale     map[route]struct{}      // with a source that the node no longer has
	adopted   bool                    // a Sync has succeeded: what differs from routes is an external change

	// mu guards the fields that watch reads.
	mu       sync.Mutex
	routes   map[route]struct{}      // ours, as last seen in the kernel
	own      map[netip.Addr]struct{} // the node's addresses
	settings model.NodeSettings
	changed  func() // the argument of watch
}

func newRouting(t table, netns int, open *Connections) *routing {
	r := &routing{table: t, netns: netns, open: open, changed: func() {}}
	r.reset()
	return r
}

// reset forgets what was programmed.
func (t *routing) reset() {
	t.adopted = false
	t.inside.Store(&inside{})
}

// read reads our routes, and the addresses and links of the node. It returns how many
// routes others have added or removed.
func (t *routing) read(settings model.NodeSettings) (found int, err error) {
	routes, err := t.table.routes()
	if err != nil {
		return 0, err
	}
	list, err := t.table.addresses()
	if err != nil {
		return 0, err
	}
	links, err := t.table.links()
	if err != nil {
		return 0, err
	}
	own := make(map[netip.Addr]struct{}, len(list))
	for _, a := range list {
		if a.LinkIndex != virtualDevice(links) {
			own[a.Addr] = struct{}{}
		}
	}
	t.nodePorts, err = settings.NodePortsOn(func() ([]netip.Addr, error) {
		return sorted(maps.Keys(own)), nil
	})
	if err != nil {
		return 0, err
	}
	t.source, t.stale = netdev.Source(own, t.nodePorts), map[route]struct{}{}
	known := make(map[route]struct{}, len(routes))
	for r, source := range routes {
		known[r] = struct{}{}
		if _, there := own[source]; source.IsValid() && !there {
			t.stale[r] = struct{}{}
		}
	}
	if in := newInside(settings, links, list); !in.equal(t.inside.Load()) {
		t.inside.Store(in)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.adopted {
		found = missing(known, t.routes) + missing(t.routes, known) + len(t.stale)
	}
	t.routes, t.own, t.settings = known, own, settings
	return found, nil
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
func (t *routing) isOwn(a netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, own := t.own[a]
	return own
}

// guardsFirst sorts routes as they are removed, which is the reverse of how they are added: a
// process of the node that connects to a virtual address without its local route, under a
// blackhole route, gets EINVAL, also if rules of another mode would translate its packets:
// they are routed before.
func guardsFirst[V any](routes map[route]V) []route {
	return slices.SortedFunc(maps.Keys(routes), func(a, b route) int {
		return cmp.Or(cmp.Compare(a.Bits()-a.Addr().BitLen(), b.Bits()-b.Addr().BitLen()), a.Addr().Compare(b.Addr()))
	})
}

// set adds missing routes and removes superfluous ones, except those to addresses
// with open connections.
func (t *routing) set(wanted map[route]struct{}) (ops int, err error) {
	var errs []error
	for _, r := range slices.Backward(guardsFirst(wanted)) {
		_, have := t.routes[r]
		if _, stale := t.stale[r]; !have || stale {
			n, err := t.change(r, true)
			ops, errs = ops+n, append(errs, err)
		}
	}
	open, awaited := t.open.open(), map[netip.Addr]struct{}{}
	for _, r := range guardsFirst(t.routes) {
		if _, ok := wanted[r]; ok {
			continue
		}
		if !r.isGuard() && open[r.Addr()] > 0 && !t.isOwn(r.Addr()) {
			awaited[r.Addr()] = struct{}{}
			continue
		}
		n, err := t.change(r, false)
		ops, errs = ops+n, append(errs, err)
	}
	t.open.await(awaited)
	return ops, errors.Join(errs...)
}

// follow keeps the route to a virtual address as long as a frontend (used) or a connection
// needs it.
func (t *routing) follow(a netip.Addr, used bool) (ops int, err error) {
	r, want := routeTo(a), used && !t.isOwn(a)
	if _, have := t.routes[r]; have == want {
		return 0, nil
	}
	if !want && !t.isOwn(a) && t.open.open()[a] > 0 {
		t.open.awaitMore(a)
		return 0, nil
	}
	return t.change(r, want)
}

// change adds or removes a route.
func (t *routing) change(r route, add bool) (ops int, err error) {
	do := t.table.remove
	if add {
		do = func(r route) error { return t.table.add(r, t.source) }
	}
	t.note(r, add) // before its notification
	if err := do(r); err != nil {
		t.note(r, !add)
		return 0, err
	}
	return 1, nil
}

func (t *routing) note(r route, there bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if there {
		t.routes[r] = struct{}{}
	} else {
		delete(t.routes, r)
	}
}
