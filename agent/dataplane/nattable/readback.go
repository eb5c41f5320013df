// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// snapshot is the content of a table in the kernel.
type snapshot struct {
	exists bool

	// broken is why the table has to be replaced as a whole; the rest of the snapshot is
	// empty then.
	broken string

	chains    map[string][]nft.HeldRule
	frontends map[model.FrontendKey]heldFrontend
	lists     map[listKey]heldList
	addrs     map[*nft.Set]map[netip.Addr]struct{}
	lengths   []int  // of the source ranges for which there is a set
	junk      []junk // invalid elements
}

// junk is an element to delete.
type junk struct {
	set      *nft.Set
	key      []byte
	catchAll bool
}

// reader reads a table into a snapshot.
type reader struct {
	*layout
	*snapshot
	conn  nft.Reader
	known map[string]portChain
}

// readAside reads on a socket of its own: the rest of what is interrupted goes with it.
func (l *layout) readAside(ctx context.Context, c *nft.Client) (s *snapshot, err error) {
	err = c.Aside(func(r nft.Reader) (err error) {
		s, err = l.read(ctx, r)
		return err
	})
	return s, err
}

// read takes the snapshot. It reads object by object, so that only one message of raw
// elements is in memory.
func (l *layout) read(ctx context.Context, c nft.Reader) (*snapshot, error) {
	r := &reader{layout: l, conn: c, known: map[string]portChain{}, snapshot: &snapshot{
		frontends: map[model.FrontendKey]heldFrontend{},
		lists:     map[listKey]heldList{},
		addrs:     map[*nft.Set]map[netip.Addr]struct{}{},
	}}
	for _, step := range []func(context.Context) error{r.readTable, r.readSets, r.readChains, r.readElements} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("read %s: %w", l, err)
		}
		if !r.exists || r.broken != "" {
			break
		}
	}
	return r.snapshot, nil
}

// readTable finds out whether our table exists and has this layout.
func (r *reader) readTable(ctx context.Context) error {
	exists, same, err := nft.ReadTable(ctx, r.conn, r.Table)
	r.exists, r.broken = exists, ""
	if exists && !same {
		r.broken = "another layout version, or other flags"
	}
	return err
}

// readSets checks that the sets are exactly ours. A set cannot be changed once it exists,
// so any difference requires a new table.
func (r *reader) readSets(ctx context.Context) error {
	sets, err := nft.ReadSets(ctx, r.conn, r.Table)
	if err != nil {
		return err
	}
	want := map[string]*nft.Set{}
	for _, set := range r.sets {
		want[set.Name] = set
	}
	for _, got := range sets {
		set := want[got.Name]
		if length, ok := r.parseSourceSet(got.Name); ok {
			set = r.sourceSet(length)
			r.lengths = append(r.lengths, length)
		}
		if set == nil {
			r.broken = "foreign set " + got.Name
		} else if !got.Is(set) {
			r.broken = "set " + got.Name + " is of another kind"
		}
		delete(want, got.Name)
	}
	for name := range want {
		r.broken = "set " + name + " is missing"
	}
	return nil
}

// readChains reads the chains. A missing one can be added, but a foreign one may see
// packets at any hook, so it requires a new table.
func (r *reader) readChains(ctx context.Context) error {
	chains, err := nft.ReadChains(ctx, r.conn, r.Table)
	if err != nil {
		return err
	}
	want := map[string]*nft.Chain{}
	for _, chain := range append(append(r.settingsChains(&model.NodeSettings{}), r.sourcesChain(nil)), r.layout.chains...) {
		want[chain.Name] = chain
	}
	r.snapshot.chains = make(map[string][]nft.HeldRule, len(chains))
	for name, got := range chains {
		r.snapshot.chains[name] = got.Rules
		of, maybe := parsePortChain(name)
		if maybe {
			r.known[name] = of
		}
		if chain := want[name]; chain != nil {
			if !got.Is(chain) {
				r.broken = "chain " + name + " is of another kind"
			}
		} else if !maybe || got.Base {
			r.broken = "foreign chain " + name
		}
	}
	return nil
}

// readElements reads the content of all sets.
func (r *reader) readElements(ctx context.Context) error {
	for at := range wheres {
		for v := range views {
			if err := r.readVerdicts(ctx, at, v); err != nil {
				return err
			}
		}
	}
	if err := r.readSources(ctx); err != nil {
		return err
	}
	if err := r.target.read(ctx, r); err != nil {
		return err
	}
	for _, set := range []*nft.Set{r.clusterIPs, r.nodePorts, r.hairpin} {
		if err := r.readAddrs(ctx, set); err != nil {
			return err
		}
	}
	return nil
}

// each streams the elements of a set. take returns false for an element that is not in our
// encoding; it is recorded as junk.
func (r *reader) each(ctx context.Context, s *nft.Set, restart func(), take func(nft.Element) bool) error {
	before := len(r.junk)
	return nft.ReadElements(ctx, r.conn, s,
		func() { r.junk = r.junk[:before]; restart() },
		func(e nft.Element) {
			if e.CatchAll || !take(e) {
				r.junk = append(r.junk, junk{s, bytes.Clone(e.Key), e.CatchAll})
			}
		})
}

// frontend changes the snapshot of a frontend.
func (r *reader) frontend(key model.FrontendKey, change func(*heldFrontend)) {
	h := r.frontends[key]
	change(&h)
	r.frontends[key] = h
}

// list changes the snapshot of a list of endpoints.
func (r *reader) list(key listKey, change func(*heldList)) {
	h := r.lists[key]
	change(&h)
	r.lists[key] = h
}

// readVerdicts reads the chains of frontends.
func (r *reader) readVerdicts(ctx context.Context, at where, v view) error {
	return r.each(ctx, r.verdicts[at][v],
		func() {
			for key, h := range r.frontends {
				if whereOf(key) == at && h.views[v].verdict.kind != absent {
					h.views[v].verdict = verdict{}
					r.frontends[key] = h
				}
			}
		},
		func(e nft.Element) bool {
			key, ok := r.parseKey(e.Key)
			if !ok || whereOf(key) != at {
				return false
			}
			r.frontend(key, func(h *heldFrontend) { h.views[v].verdict = parseVerdict(e.Verdict(), r.known) })
			return true
		})
}

// readAddrs reads a set of addresses.
func (r *reader) readAddrs(ctx context.Context, s *nft.Set) error {
	return r.each(ctx, s,
		func() { r.addrs[s] = map[netip.Addr]struct{}{} },
		func(e nft.Element) bool {
			a, ok := r.parseAddr(s, e.Key)
			if ok {
				r.addrs[s][a] = struct{}{}
			}
			return ok
		})
}
