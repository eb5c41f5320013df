// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/nattable"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// world is a kernel in memory. It outlives the dataplanes that program it.
type world struct {
	virtual map[serverKey]*fakeServer
	times   Timeouts

	device              bool
	onDevice, elsewhere map[netip.Addr]struct{}
	sources             map[netip.Addr]netip.Addr // of addresses on the device

	table     map[model.FrontendKey]uint32 // the frontends in our table, with their marks
	refuse    map[netip.Addr]struct{}
	nodePorts map[netip.Addr]struct{}
	dropping  bool // the table drops what is for a frontend
	noIPv6    error

	calls int              // of everything
	steps []string         // changes, in their order
	fail  map[string]error // what the change of that name returns

	listing  func()               // happens when all virtual servers are read
	reading  func()               // happens when the real servers of one are
	unlisted func(serverKey) bool // is not in a list, but exists
}

type fakeServer struct {
	server
	reals map[model.Endpoint]*realServer
}

func newWorld() *world {
	return &world{
		virtual: map[serverKey]*fakeServer{}, onDevice: map[netip.Addr]struct{}{}, elsewhere: map[netip.Addr]struct{}{},
		table: map[model.FrontendKey]uint32{}, fail: map[string]error{},
		refuse: map[netip.Addr]struct{}{}, nodePorts: map[netip.Addr]struct{}{}, sources: map[netip.Addr]netip.Addr{},
	}
}

// step records a change, or fails.
func (w *world) step(format string, args ...any) error {
	w.calls++
	name := fmt.Sprintf(format, args...)
	if err := w.fail[name]; err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.steps = append(w.steps, name)
	return nil
}

// fakeKernel is the IPVS of a world.
type fakeKernel struct{ *world }

var _ kernel = fakeKernel{}

func (k fakeKernel) servers() (out []virtualServer, err error) {
	k.calls++
	if k.listing != nil {
		k.listing()
	}
	for key, s := range k.virtual {
		if k.unlisted == nil || !k.unlisted(key) {
			out = append(out, virtualServer{key, s.server})
		}
	}
	return out, k.fail["list"]
}

func (k fakeKernel) server(key serverKey) (virtualServer, bool, error) {
	k.calls++
	s := k.virtual[key]
	if s == nil {
		return virtualServer{}, false, k.fail["get "+key.String()]
	}
	return virtualServer{key, s.server}, true, k.fail["get "+key.String()]
}

// realServers returns none for a virtual server that is not there, like the kernel.
func (k fakeKernel) realServers(key serverKey) (out []realServer, err error) {
	k.calls++
	if k.reading != nil {
		k.reading()
	}
	if s := k.virtual[key]; s != nil {
		for _, r := range s.reals {
			out = append(out, *r)
		}
	}
	return out, k.fail["list "+key.String()]
}

func (k fakeKernel) addServer(key serverKey, s server) error {
	if k.virtual[key] != nil {
		return unix.EEXIST
	}
	err := k.step("add %s", key)
	if err == nil {
		k.virtual[key] = &fakeServer{s, map[model.Endpoint]*realServer{}}
	}
	return err
}

func (k fakeKernel) setServer(key serverKey, s server) error {
	if k.virtual[key] == nil {
		return unix.ESRCH
	}
	err := k.step("set %s %s", key, s.scheduler)
	if err == nil {
		k.virtual[key].server = s
	}
	return err
}

func (k fakeKernel) deleteServer(key serverKey) error {
	if k.virtual[key] == nil {
		return unix.ESRCH
	}
	err := k.step("delete %s", key)
	if err == nil {
		delete(k.virtual, key)
	}
	return err
}

func (k fakeKernel) addRealServer(key serverKey, r realServer) error {
	switch s := k.virtual[key]; {
	case s == nil:
		return unix.ESRCH
	case s.reals[r.endpoint] != nil:
		return unix.EEXIST
	}
	err := k.step("add %s -> %s", key, r.endpoint)
	if err == nil {
		k.virtual[key].reals[r.endpoint] = &r
	}
	return err
}

func (k fakeKernel) setRealServer(key serverKey, r realServer) error {
	switch s := k.virtual[key]; {
	case s == nil:
		return unix.ESRCH
	case s.reals[r.endpoint] == nil:
		return unix.ENOENT
	}
	err := k.step("weight %s -> %s %d", key, r.endpoint, r.weight)
	if err == nil {
		k.virtual[key].reals[r.endpoint].weight = r.weight
	}
	return err
}

func (k fakeKernel) deleteRealServer(key serverKey, e model.Endpoint) error {
	switch s := k.virtual[key]; {
	case s == nil:
		return unix.ESRCH
	case s.reals[e] == nil:
		return unix.ENOENT
	}
	err := k.step("delete %s -> %s", key, e)
	if err == nil {
		delete(k.virtual[key].reals, e)
	}
	return err
}

func (k fakeKernel) timeouts() (Timeouts, error) { return k.times, nil }

func (k fakeKernel) setTimeouts(t Timeouts) error {
	err := k.step("timeouts %+v", t)
	if err == nil {
		k.times = t
	}
	return err
}

func (k fakeKernel) close() error { return nil }

// fakeDevice is kube-ipvs0 in a world.
type fakeDevice struct{ *world }

var _ device = fakeDevice{}

func (d fakeDevice) possible() error { return d.fail["possible"] }

func (d fakeDevice) exists() (bool, error) { return d.device, nil }

func (d fakeDevice) ensure() error {
	if d.device {
		return nil
	}
	d.world.device = true
	return d.step("add device")
}

func (d fakeDevice) addresses() (onDevice, elsewhere map[netip.Addr]struct{}, err error) {
	d.calls++
	return maps.Clone(d.onDevice), maps.Clone(d.elsewhere), nil
}

const fakeIndex = 7

func (d fakeDevice) is(index int) bool { return index == fakeIndex }

func (d fakeDevice) add(a netip.Addr) error {
	err := d.step("bind %s", a)
	if err == nil {
		d.onDevice[a] = struct{}{}
	}
	return err
}

func (d fakeDevice) remove(a netip.Addr) error {
	err := d.step("unbind %s", a)
	if err == nil {
		delete(d.onDevice, a)
	}
	return err
}

func (d fakeDevice) setSource(a, source netip.Addr) error {
	d.calls++
	if d.world.sources[a] == source {
		return nil
	}
	err := d.step("source of %s", a)
	if err == nil {
		d.world.sources[a] = source
	}
	return err
}

func (d fakeDevice) clearSources() (int, error) {
	d.calls++
	n := len(d.world.sources)
	if n == 0 {
		return 0, nil
	}
	err := d.step("clear sources")
	if err == nil {
		clear(d.world.sources)
	}
	return n, err
}

func (d fakeDevice) destroy() error {
	d.world.device = false
	clear(d.onDevice)
	clear(d.world.sources)
	return d.step("delete device")
}

func (d fakeDevice) close() error { return nil }

// fakeFilter is our table in a world. Like the real one it reads the table only if the
// content is unknown.
type fakeFilter struct {
	*world
	known     bool
	last      model.Desired
	next      *model.Desired
	addresses func() ([]netip.Addr, error)

	changes    []model.Change // planned
	programmed map[model.FrontendKey]*model.Frontend
}

var _ filter = (*fakeFilter)(nil)

func (f *fakeFilter) Plan(_ context.Context, desired model.Desired) (nattable.Found, error) {
	f.calls++
	p := nattable.Found{}
	if !f.known {
		p.Removed, p.NodePorts = map[model.FrontendKey]uint32{}, maps.Clone(f.world.nodePorts)
		for key, mark := range f.table {
			if desired.Frontends[key] == nil {
				p.Removed[key] = mark
			}
		}
	}
	f.known = false
	// Like the real one: only differences from the last plan are changed.
	f.changes = model.Diff(f.last, desired).Frontends
	f.next = &model.Desired{Node: desired.Node, Frontends: maps.Clone(desired.Frontends), ClusterIPs: maps.Clone(desired.ClusterIPs)}
	return p, f.fail["plan"]
}

func (f *fakeFilter) PlanDelta(delta model.Delta) error {
	f.calls++
	f.known = false
	f.changes = delta.Frontends
	f.next = &f.last
	delta.Apply(f.next)
	return f.fail["plan"]
}

func (f *fakeFilter) Commit(context.Context) (dataplane.Result, error) {
	if f.next == nil {
		return dataplane.Result{}, errors.New("nothing is planned")
	}
	f.last, f.next = *f.next, nil
	for _, c := range f.changes {
		if c.New == nil {
			delete(f.programmed, c.Key)
		} else {
			f.programmed[c.Key] = c.New
		}
	}
	table := map[model.FrontendKey]uint32{}
	for key := range f.last.Frontends {
		table[key] = f.markOf(key)
	}
	dropping, ops := false, 0
	for _, fr := range f.last.Frontends {
		dropping = dropping || fr.Internal.Verdict == model.Drop
	}
	if dropping != f.dropping {
		f.dropping = dropping
		if err := f.step("table drops: %v", dropping); err != nil {
			return dataplane.Result{}, err
		}
	}
	if !maps.Equal(table, f.table) || !maps.Equal(f.refuse, f.last.ClusterIPs) || !maps.Equal(f.world.nodePorts, f.NodePorts()) {
		ops = 1
		if err := f.step("table"); err != nil {
			return dataplane.Result{}, err
		}
	}
	f.table, f.refuse, f.world.nodePorts, f.known = table, maps.Clone(f.last.ClusterIPs), f.NodePorts(), true
	return dataplane.Result{Operations: ops}, nil
}

func (f *fakeFilter) Desired() model.Desired {
	if f.next != nil {
		return *f.next
	}
	if f.last.Frontends == nil {
		return model.NewDesired()
	}
	return f.last
}

// Mark depends on the key only.
func (f *fakeFilter) Mark(key model.FrontendKey) uint32 { return f.markOf(key) }

func (f *fakeFilter) markOf(key model.FrontendKey) uint32 {
	fr := f.Desired().Frontends[key]
	if fr == nil || fr.External.Verdict != model.Forward || slices.Equal(fr.Internal.Endpoints, fr.External.Endpoints) {
		return 0
	}
	return 0xf1000000 | uint32(key.Port)
}

func (f *fakeFilter) OnlyTrack(_ context.Context, instead bool) error {
	f.dropping = false
	if !instead {
		return nil
	}
	f.table, f.known = map[model.FrontendKey]uint32{}, false
	return f.step("only track")
}

func (f *fakeFilter) IPv6Error() error { return f.noIPv6 }

func (f *fakeFilter) NodePorts() map[netip.Addr]struct{} {
	out := map[netip.Addr]struct{}{}
	for _, a := range f.Desired().Node.NodePortAddresses {
		out[a] = struct{}{}
	}
	own, _ := f.addresses()
	for _, a := range own {
		for _, p := range f.Desired().Node.NodePortCIDRs {
			if p.Contains(a) {
				out[a] = struct{}{}
			}
		}
	}
	return out
}

func (f *fakeFilter) Probe(context.Context) error { return nil }

func (f *fakeFilter) Watch(ctx context.Context, _ func()) error { <-ctx.Done(); return nil }

func (f *fakeFilter) Cleanup(context.Context) error {
	f.table, f.refuse, f.world.nodePorts, f.known = nil, nil, nil, false
	return f.step("delete table")
}

func (f *fakeFilter) Close() error { return nil }
