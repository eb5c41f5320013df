// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// planner fills batches with the changes from the contents of a table to the wanted state,
// and updates the contents accordingly.
//
// The kernel applies a batch at one moment, but a packet may be in the middle of the
// rules: it has seen an old map, and sees the next one after the change. So elements that
// a packet of a remaining frontend may still look up are deleted in a later batch. And it
// sees chains as they were when it met the first one: a chain that is added in the same
// batch as the element that leads to it is empty to this packet, which would go on with the
// frontend's address. So a new chain is added in a batch of its own, before.
//
// If the batch has to end in between, the lists of endpoints have grown before a frontend
// leads to them, and shrink after none does.
type planner struct {
	*layout
	contents *contents
	step
}

// changed are about n frontends of a number of ports in their new state; nil: removed.
type changed struct {
	n, ports int
	all      iter.Seq2[model.FrontendKey, *model.Frontend]
}

// change is one of them.
type change struct {
	key model.FrontendKey
	f   *model.Frontend
}

// plan changes frontends, and the lists that they use. lists are further lists to check.
func (p *planner) plan(frontends changed, lists []listKey) error {
	plans := make(listPlans, frontends.ports)
	for _, key := range lists {
		plans[key] = listPlan{}
	}
	for key, f := range frontends.all {
		old := p.target.uses(key, p.contents.frontends[key])
		p.contents.use(old, -1)
		var now wantedFrontend
		if f != nil {
			if err := p.check(f); err != nil {
				return err
			}
			now = p.target.want(f)
			p.contents.use(now.uses, 1)
		}
		if err := plans.note(old, now.uses, f); err != nil {
			return err
		}
	}
	var shrinking []shrinkingList
	for key, l := range plans {
		if old, now, moved := p.updateList(key, l); old.shrinks(now) {
			shrinking = append(shrinking, shrinkingList{key, old, now, moved})
		}
	}
	for key, f := range frontends.all {
		p.update(key, f)
		p.batch.mayEnd()
	}
	for _, l := range shrinking {
		p.target.shrinkList(p, l.key, l.old, l.now, l.moved)
	}
	return nil
}

// shrinkingList is a list of endpoints that has more elements than it should. moved says
// that former users of it may lead elsewhere now.
type shrinkingList struct {
	key      listKey
	old, now heldList
	moved    bool
}

// listPlans are the new states of lists of endpoints.
type listPlans map[listKey]listPlan

type listPlan struct {
	use   use  // without a list: unchanged, or removed if it has no users
	moved bool // a frontend that used it leads elsewhere now, or stays a while in ports
}

// note records the lists that a frontend used before and uses now.
func (l listPlans) note(old, now [views]use, f *model.Frontend) error {
	leads := false
	for _, u := range now {
		if u.list == (listKey{}) {
			continue
		}
		leads = true
		plan := l[u.list]
		if plan.use.list != u.list {
			plan.use = u
			l[u.list] = plan
		} else if plan.use.timeout != u.timeout || plan.use.group != u.group || !model.EqualEndpoints(plan.use.endpoints, u.endpoints) {
			return fmt.Errorf("%s of %s does not lead to the same endpoints as others of the port %s", f.Key, f.Service, u.list.home)
		}
	}
	for _, u := range old {
		if u.list != (listKey{}) {
			plan := l[u.list]
			plan.moved = plan.moved || leads || f != nil && u.shared
			l[u.list] = plan
		}
	}
	return nil
}

// updateList changes the content for a list of endpoints, except what is to be deleted.
func (p *planner) updateList(key listKey, plan listPlan) (old, now heldList, moved bool) {
	old = p.contents.lists[key]
	used, planned := old.direct+old.shared > 0, plan.use.list == key
	now = old
	switch {
	case !used:
		now.endpoints, now.choices, now.affine = nil, nil, nil
	case !planned:
	case plan.use.timeout > 0:
		now.endpoints, now.choices, now.affine = nil, assign(old.choices, plan.use.endpoints), sorted(plan.use.endpoints)
	default:
		now.endpoints, now.choices, now.affine = assign(old.endpoints, plan.use.endpoints), nil, nil
	}
	if planned {
		now.spread = forwardTo(portChain{role: shared, list: key.list, n: uint32(len(plan.use.endpoints)), timeout: plan.use.timeout, group: plan.use.group})
	}
	if old.shared == 0 {
		now.spread = verdict{}
	}
	p.contents.user(old.spread, -1)
	p.contents.user(now.spread, 1)
	p.addChain(now.spread)
	p.target.growList(p, key, old, now)
	if used {
		p.contents.lists[key] = now
	} else {
		delete(p.contents.lists, key)
	}
	return old, now, plan.moved || used
}

// update changes the content for a frontend to f (nil: none).
func (p *planner) update(key model.FrontendKey, f *model.Frontend) {
	old := p.contents.frontends[key]
	var want wantedFrontend
	if f != nil {
		want = p.target.want(f)
	}
	now := heldFrontend{views: want.views}
	if want.marked {
		now.mark = p.contents.marks.take(key, old.mark)
	} else if old.mark != 0 {
		p.contents.marks.release(key, old.mark)
	}
	var buf [64]byte
	element := appendKey(buf[:0], key)
	now.restricted, now.sources = p.updateSources(element, old, f)
	for v := range views {
		putVerdict(p.batch.Batch, p.verdicts[whereOf(key)][v], element, old.views[v].verdict, now.views[v].verdict)
	}
	p.target.put(p, key, old, now, f != nil)
	p.contents.set(key, now, f != nil)
	for _, v := range now.views {
		p.addChain(v.verdict)
	}
}

// addChain adds the chain of a verdict, or its rules, unless it has them.
func (p *planner) addChain(v verdict) {
	if v.kind != forward {
		return
	}
	_, exists := p.contents.chains[v.chain]
	_, damaged := p.contents.damaged[v.chain]
	switch {
	case !exists:
		p.step.chains.AddChain(p.build(v.chain))
		p.contents.chains[v.chain] = struct{}{}
	case damaged:
		p.batch.RewriteRules(p.build(v.chain))
		delete(p.contents.damaged, v.chain)
	}
}

// detour returns changes that come first, in a separate batch. A list may become another
// one at once, mostly because another Service won the port's key. Frontends that use it
// must leave it before; until then they have their own endpoints.
func (p *planner) detour(frontends changed) changed {
	left := map[listKey][]change{}
	for key, f := range frontends.all {
		for _, u := range p.target.uses(key, p.contents.frontends[key]) {
			if u.shared && (f == nil || !p.leadsTo(f, u.list)) {
				left[u.list] = append(left[u.list], change{key, alone(f)})
			}
		}
	}
	out := map[model.FrontendKey]*model.Frontend{}
	if len(left) == 0 {
		return changed{0, 0, maps.All(out)}
	}
	for _, f := range frontends.all {
		if f == nil {
			continue
		}
		for _, u := range p.target.want(f).uses {
			if !p.contents.lists[u.list].is(u) {
				for _, c := range left[u.list] {
					out[c.key] = c.f
				}
				delete(left, u.list)
			}
		}
	}
	return changed{len(out), len(out), maps.All(out)}
}

func (p *planner) leadsTo(f *model.Frontend, list listKey) bool {
	uses := p.target.want(f).uses
	return slices.ContainsFunc(uses[:], func(u use) bool { return u.list == list })
}

// alone returns the frontend with a port of its own.
func alone(f *model.Frontend) *model.Frontend {
	if f == nil {
		return nil
	}
	out := *f
	out.PortKey = f.Key
	return &out
}

// is says whether the list is what the user wants.
func (h heldList) is(u use) bool {
	have := h.endpoints
	if u.timeout > 0 {
		have = h.choices
	}
	return slices.Equal(have, assign(have, u.endpoints))
}

// assign numbers the wanted endpoints. An endpoint keeps its number; the number of a
// removed one goes to the last or to a new one. So a changed endpoint costs a few
// elements, however many there are.
func assign(old, want []model.Endpoint) []model.Endpoint {
	if len(old) == 0 || slices.Equal(old, want) {
		return want // shared, so that the usual cases take no memory
	}
	want = sorted(want)
	out, kept, next := make([]model.Endpoint, len(want)), make([]bool, len(want)), 0
	for i, e := range old[:min(len(old), len(want))] {
		at := next // most have kept their order
		if at >= len(want) || want[at] != e {
			found := false
			if at, found = slices.BinarySearchFunc(want, e, netip.AddrPort.Compare); !found {
				continue
			}
		}
		if !kept[at] {
			out[i], kept[at] = e, true
		}
		next = at + 1
	}
	free := 0
	for i, e := range want {
		if kept[i] {
			continue
		}
		for out[free].IsValid() {
			free++
		}
		out[free] = e
	}
	return out
}

// sorted returns the endpoints in their order.
func sorted(list []model.Endpoint) []model.Endpoint {
	if slices.IsSortedFunc(list, netip.AddrPort.Compare) {
		return list
	}
	return slices.SortedFunc(slices.Values(list), netip.AddrPort.Compare)
}
