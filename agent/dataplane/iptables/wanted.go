// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"hash/maphash"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// wanted is the desired rules of a family. For each chain it stores a checksum of the
// rules, and renders the rules when they are needed: as text those of 10,000 Services are
// 20 MB.
type wanted struct {
	v6       bool
	settings *settings // the source of fixed
	fixed    map[chainID][]string

	views   [views]*dispatch
	hairpin *tree[netip.Addr]

	// ports holds the frontends of each port of a Service, owners the port of each
	// chain that is made for one.
	ports   map[portID]map[model.FrontendKey]*model.Frontend
	owners  map[string]portID
	chains  map[portID][]string
	reduced map[portID]struct{} // ports that have more endpoints than are used
	use     subset

	sums    map[chainID]sum
	trees   map[string]renderer // by chain
	touched map[string]renderer // chains that may have changed

	affine int // frontends with session affinity
}

// sum is a checksum of the rules of a chain.
type sum struct {
	hash  uint64
	rules int
}

var seed = maphash.MakeSeed()

// add adds a rule to a checksum.
func (s sum) add(rule string) sum {
	var h maphash.Hash
	h.SetSeed(seed)
	maphash.WriteComparable(&h, s.hash)
	_, _ = h.WriteString(rule) // never fails
	return sum{h.Sum64(), s.rules + 1}
}

func sumOf(rules []string) sum {
	var s sum
	for _, r := range rules {
		s = s.add(r)
	}
	return s
}

func newWanted(v6 bool) *wanted {
	w := &wanted{
		v6: v6, fixed: fixedChains(v6),
		ports:  map[portID]map[model.FrontendKey]*model.Frontend{},
		owners: map[string]portID{}, chains: map[portID][]string{}, reduced: map[portID]struct{}{}, use: subset{together: maxEndpoints},
		sums: map[chainID]sum{}, trees: map[string]renderer{}, touched: map[string]renderer{},
	}
	touch := func(chain string, by renderer) { w.touched[chain] = by }
	for v := range views {
		w.views[v] = newDispatch(v, v6, touch)
	}
	w.hairpin = newTree(rootHairpin, prefixHairpin, addressDigits{v6, "-s"}, hairpinRules, touch)
	for id, rules := range w.fixed {
		w.sums[id] = sumOf(rules)
	}
	return w
}

// change is the set of chains that may have changed.
type change map[chainID]struct{}

// check returns an error for an invalid delta.
func (w *wanted) check(delta *model.Delta) error {
	var errs []error
	for _, c := range delta.Frontends {
		if c.Key.Address.Is6() == w.v6 {
			errs = append(errs, check(c.New, w.v6))
		}
	}
	return errors.Join(errs...)
}

// apply applies a delta, and returns the chains that may have changed.
func (w *wanted) apply(delta *model.Delta, now *settings) change {
	out := change{}
	if w.settings == nil || !reflect.DeepEqual(w.settings, now) {
		w.settings = now
		if w.use.seed == "" { // another one would change all subsets
			w.use.seed = now.SubsetSeed()
		}
		for id, rules := range settingsChains(now) {
			w.fixed[id], w.sums[id] = rules, sumOf(rules)
			out[id] = struct{}{}
		}
	}
	w.applyFrontends(delta.Frontends, out)
	for yes, addrs := range map[bool][]netip.Addr{true: delta.ClusterIPs.Added, false: delta.ClusterIPs.Removed} {
		for _, a := range addrs {
			if a.Is6() == w.v6 {
				w.views[internal].refuse(a, yes)
			}
		}
	}
	for _, a := range delta.LocalEndpoints.Added {
		if a.Is6() == w.v6 {
			w.hairpin.add(a)
		}
	}
	for _, a := range delta.LocalEndpoints.Removed {
		if a.Is6() == w.v6 {
			w.hairpin.remove(a)
		}
	}
	w.sumUp(out)
	return out
}

// applyFrontends renders the ports again whose frontends have changed.
func (w *wanted) applyFrontends(changes []model.Change, out change) {
	touched := map[portID]struct{}{}
	for _, c := range changes {
		if c.Key.Address.Is6() != w.v6 {
			continue
		}
		if c.Old != nil {
			w.forget(c.Old)
			touched[portOf(c.Old)] = struct{}{}
		}
		if c.New != nil {
			w.keep(c.New)
			touched[portOf(c.New)] = struct{}{}
		}
	}
	// A frontend may move from one port to another: remove all first, then add all.
	entries := map[model.FrontendKey][views]*entry{}
	for _, c := range changes {
		if c.Key.Address.Is6() == w.v6 {
			entries[c.Key] = [views]*entry{}
		}
	}
	for id := range touched {
		for _, name := range w.chains[id] {
			delete(w.owners, name)
			delete(w.sums, chainID{tableNAT, name})
			out[chainID{tableNAT, name}] = struct{}{}
		}
		delete(w.chains, id)
	}
	for id := range touched {
		r := w.render(id)
		if delete(w.reduced, id); r.reduced {
			w.reduced[id] = struct{}{}
		}
		for name, rules := range r.chains {
			w.owners[name] = id
			w.chains[id] = append(w.chains[id], name)
			w.sums[chainID{tableNAT, name}] = sumOf(rules())
			out[chainID{tableNAT, name}] = struct{}{}
		}
		maps.Copy(entries, r.entries)
	}
	for key, e := range entries {
		for v, to := range e {
			w.views[v].set(key, to)
		}
	}
}

func (w *wanted) keep(f *model.Frontend) {
	id := portOf(f)
	if w.ports[id] == nil {
		w.ports[id] = map[model.FrontendKey]*model.Frontend{}
	}
	w.ports[id][f.Key] = f
	if f.AffinityTimeoutSeconds > 0 {
		w.affine++
	}
}

func (w *wanted) forget(f *model.Frontend) {
	id := portOf(f)
	delete(w.ports[id], f.Key)
	if len(w.ports[id]) == 0 {
		delete(w.ports, id)
	}
	if f.AffinityTimeoutSeconds > 0 {
		w.affine--
	}
}

func (w *wanted) render(id portID) rendered {
	return renderPort(slices.Collect(maps.Values(w.ports[id])), w.use)
}

// sumUp updates the checksums of chains of trees that may have changed.
func (w *wanted) sumUp(out change) {
	for name, by := range w.touched {
		id := chainID{tableNAT, name}
		out[id] = struct{}{}
		if rules, ok := by.render(name); ok {
			w.trees[name], w.sums[id] = by, sumOf(rules)
		} else {
			delete(w.trees, name)
			delete(w.sums, id)
		}
	}
	clear(w.touched)
}

// rules returns the rules of a wanted chain.
func (w *wanted) rules(id chainID) []string {
	if rules, ok := w.fixed[id]; ok {
		return rules
	}
	if owner, ok := w.owners[id.name]; ok {
		return w.render(owner).chains[id.name]()
	}
	rules, _ := w.trees[id.name].render(id.name)
	return rules
}
