// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"slices"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// touched is what is programmed for a key that changed and is not flushed yet.
type touched struct {
	old   *model.Frontend
	since int // Table.flushes when it was touched
	cost  int // of the change that is to be flushed; 0: not known
}

// note remembers what is programmed now for a key that is about to change.
func (t *Table) note(key model.FrontendKey) {
	if known := t.touched[key]; known != nil {
		known.cost = 0
		return
	}
	t.touched[key] = &touched{old: t.winner(key), since: t.flushes}
}

// Flush returns everything that changed since the last Flush.
func (t *Table) Flush() model.Delta {
	d, _ := t.FlushSlice(math.MaxInt, Costs{Share: true})
	return d
}

// FlushSlice returns a part of the changes that are not flushed yet, and whether there are
// more. A change costs one, and one more for each endpoint and source range that is added
// or removed (see Costs); if the frontends of a port share their endpoints, only the first of them that
// changes has their cost. Half of the budget goes to the Services with the cheapest changes, the rest
// to those that have waited longest. So the change of a small Service is always in the
// next slice, and no Service waits for ever. A slice costs at most the budget and one step
// (see pendingPort). A change of the node's settings is flushed together with everything
// else.
func (t *Table) FlushSlice(budget int, costs Costs) (d model.Delta, more bool) {
	if t.flushedSettings != nil && !reflect.DeepEqual(*t.flushedSettings, t.settings) {
		settings := t.settings
		d.Node, budget = &settings, math.MaxInt
	}
	t.flushedSettings = nil
	d.Frontends = t.slice(budget, costs)
	slices.SortFunc(d.Frontends, func(a, b model.Change) int { return a.Key.Compare(b.Key) })
	for _, c := range d.Frontends {
		delete(t.touched, c.Key)
	}
	t.flushes++
	if more = len(t.touched) > 0; !more {
		// Make a new map: iterating over and clearing a map costs as much as it ever held,
		// and before the first Flush it holds everything.
		t.touched = map[model.FrontendKey]*touched{}
	}
	d.ClusterIPs, d.LocalEndpoints = t.cluster.flush(!more), t.local.flush(!more)
	return d, more
}

// slice returns the changes of the next slice.
func (t *Table) slice(budget int, costs Costs) []model.Change {
	pending := t.pending(costs)
	s := slicer{left: budget}
	for _, c := range pending {
		s.changes, s.left = append(s.changes, c.Change), s.left-c.cost
	}
	if s.left >= 0 {
		return s.changes
	}
	s = slicer{left: budget}
	ports := pendingPorts(pending, costs.Share)
	s.take(ports, budget/2)
	if waiting := byAge(ports, t.flushes); len(waiting) > 0 {
		s.takeStep(waiting[0])
		s.take(waiting, s.left)
	}
	s.take(ports, s.left)
	if len(s.changes) == 0 {
		s.takeStep(ports[0])
	}
	return s.changes
}

// slicer fills a slice.
type slicer struct {
	changes []model.Change
	left    int // of the budget
}

// take takes the steps of the ports in order, as long as the limit allows.
func (s *slicer) take(ports []*pendingPort, limit int) {
	for _, p := range ports {
		for len(p.steps) > 0 {
			if p.steps[0].cost > limit {
				return
			}
			limit -= p.steps[0].cost
			s.takeStep(p)
		}
	}
}

// takeStep takes the next step of a port, if it has one.
func (s *slicer) takeStep(p *pendingPort) {
	if len(p.steps) > 0 {
		s.changes, s.left = append(s.changes, p.steps[0].changes...), s.left-p.steps[0].cost
		p.steps = p.steps[1:]
	}
}

// pendingChange is a change with its cost, and the flush count when it was touched.
type pendingChange struct {
	model.Change
	cost, since int
}

// pending returns all changes that are not flushed yet, by key. Keys that are again as
// programmed are no longer touched.
func (t *Table) pending(costs Costs) []pendingChange {
	out, lists := make([]pendingChange, 0, len(t.touched)), t.comparison(costs)
	for key, p := range t.touched {
		now := t.winner(key)
		if p.cost == 0 {
			if p.old.Equal(now) {
				delete(t.touched, key)
				continue
			}
			p.cost = lists.costOf(p.old, now)
		}
		out = append(out, pendingChange{model.Change{Key: key, Old: p.old, New: now}, p.cost, p.since})
	}
	slices.SortFunc(out, func(a, b pendingChange) int { return a.Key.Compare(b.Key) })
	return out
}

// pendingPort is what is to be flushed of a Service's port, in steps. The order is: removed
// frontends, one by one; then changed frontends, and the frontend whose key is the PortKey;
// then added ones. If the frontends share their endpoints, the changed ones are one step,
// so that what they share is consistent after each step.
type pendingPort struct {
	service model.ServiceID
	home    model.FrontendKey
	steps   []step
	since   int // the smallest of its changes
}

// step is what is flushed together.
type step struct {
	changes []model.Change
	cost    int
}

func (s *step) add(c pendingChange) { s.changes, s.cost = append(s.changes, c.Change), s.cost+c.cost }

// pendingPorts groups changes by port, those of the Services with the cheapest changes
// first. Ports between which a frontend moves count as one.
func pendingPorts(changes []pendingChange, share bool) []*pendingPort {
	homes := joinedHomes{}
	for _, c := range changes {
		if c.Old != nil && c.New != nil {
			homes.join(c.Old.Home(), c.New.Home())
		}
	}
	byHome := map[model.FrontendKey]*pendingPort{}
	added, changed := map[*pendingPort][]step{}, map[*pendingPort][]step{}
	costs := map[model.ServiceID]int{}
	for _, c := range changes {
		f := c.New
		if f == nil {
			f = c.Old
		}
		home := homes.of(f.Home())
		p := byHome[home]
		if p == nil {
			p = &pendingPort{service: f.Service, home: home, since: c.since}
			byHome[home] = p
		}
		p.since = min(p.since, c.since)
		costs[p.service] += c.cost
		alone := step{[]model.Change{c.Change}, c.cost}
		switch {
		case c.New == nil && c.Key != f.Home():
			p.steps = append(p.steps, alone)
		case c.Old == nil && c.Key != f.Home():
			added[p] = append(added[p], alone)
		case share && len(changed[p]) > 0:
			changed[p][0].add(c)
		default:
			changed[p] = append(changed[p], alone)
		}
	}
	out := slices.SortedFunc(maps.Values(byHome), func(a, b *pendingPort) int {
		return cmp.Or(cmp.Compare(costs[a.service], costs[b.service]), compareServices(a.service, b.service), a.home.Compare(b.home))
	})
	for _, p := range out {
		p.steps = append(append(p.steps, changed[p]...), added[p]...)
	}
	return out
}

func compareServices(a, b model.ServiceID) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Family, b.Family))
}

// joinedHomes are the PortKeys of ports that count as one: each leads to another one, and
// the last one stands for all.
type joinedHomes map[model.FrontendKey]model.FrontendKey

func (j joinedHomes) of(key model.FrontendKey) model.FrontendKey {
	for {
		next, ok := j[key]
		if !ok {
			return key
		}
		key = next
	}
}

func (j joinedHomes) join(a, b model.FrontendKey) {
	if a, b = j.of(a), j.of(b); a != b {
		j[a] = b
	}
}

// byAge returns the ports of the Services that the last flush left over, those that have
// waited longest first.
func byAge(ports []*pendingPort, flushes int) (out []*pendingPort) {
	since := map[model.ServiceID]int{}
	for _, p := range ports {
		if len(p.steps) == 0 || p.since == flushes {
			continue
		}
		if first, ok := since[p.service]; !ok || p.since < first {
			since[p.service] = p.since
		}
		out = append(out, p)
	}
	slices.SortStableFunc(out, func(a, b *pendingPort) int { return cmp.Compare(since[a.service], since[b.service]) })
	return out
}

// flush returns what changed in a set since the last time. Removals are returned only if
// all changes are flushed, because frontends that are not flushed yet may need the
// address.
func (r *refCounts) flush(all bool) model.AddrChanges {
	var c model.AddrChanges
	left := map[netip.Addr]bool{} // a new map: see FlushSlice
	for addr, before := range r.touched {
		switch now := r.count[addr] > 0; {
		case now && !before:
			c.Added = append(c.Added, addr)
		case before && !now && all:
			c.Removed = append(c.Removed, addr)
		case before && !now:
			left[addr] = before
		}
	}
	slices.SortFunc(c.Added, netip.Addr.Compare)
	slices.SortFunc(c.Removed, netip.Addr.Compare)
	r.touched = left
	return c
}
