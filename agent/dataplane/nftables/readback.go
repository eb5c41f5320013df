// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// snapshot is what the kernel holds of a table.
type snapshot struct {
	exists bool

	// broken says why the table has to be replaced as a whole; then there is
	// nothing else in the snapshot.
	broken string

	chains    map[string][]nft.HeldRule
	frontends map[model.FrontendKey]held
	addrs     map[*nft.Set]map[netip.Addr]struct{}
	lengths   []int  // of the source ranges for which there is a set
	junk      []junk // elements that we would never make
}

// junk is an element to delete.
type junk struct {
	set      *nft.Set
	key      []byte
	catchAll bool
}

// read takes the snapshot. The kernel is asked object by object, so that no more
// than a message of raw elements is in memory.
func (t *table) read(ctx context.Context, c nft.Reader) (*snapshot, error) {
	s := &snapshot{addrs: map[*nft.Set]map[netip.Addr]struct{}{}}
	for _, step := range []func(context.Context, nft.Reader, *snapshot) error{
		t.readTable, t.readSets, t.readAllChains, t.readElements,
	} {
		if err := step(ctx, c, s); err != nil {
			return nil, fmt.Errorf("reading %s: %w", t, err)
		}
		if !s.exists || s.broken != "" {
			break
		}
	}
	return s, nil
}

// readTable finds out whether our table exists and is of this layout.
func (t *table) readTable(ctx context.Context, c nft.Reader, s *snapshot) error {
	exists, same, err := nft.ReadTable(ctx, c, t.Table)
	s.exists, s.broken = exists, ""
	if exists && !same {
		s.broken = "another layout version, or other flags"
	}
	return err
}

// readSets checks that the sets are exactly ours. A set cannot be changed once it
// exists, so anything else means a new table.
func (t *table) readSets(ctx context.Context, c nft.Reader, s *snapshot) error {
	sets, err := nft.ReadSets(ctx, c, t.Table)
	if err != nil {
		return err
	}
	want := map[string]*nft.Set{}
	for _, set := range t.sets {
		want[set.Name] = set
	}
	for _, got := range sets {
		set := want[got.Name]
		if length, ok := t.parseSourceSet(got.Name); ok {
			set = t.sourceSet(length)
			s.lengths = append(s.lengths, length)
		}
		if set == nil {
			s.broken = "foreign set " + got.Name
		} else if !got.Is(set) {
			s.broken = "set " + got.Name + " is of another kind"
		}
		delete(want, got.Name)
	}
	for name := range want {
		s.broken = "set " + name + " is missing"
	}
	return nil
}

// readAllChains reads the chains with their rules.
func (t *table) readAllChains(ctx context.Context, c nft.Reader, s *snapshot) error {
	ours := append(append(t.settingsChains(&model.NodeSettings{}), t.sourcesChain(nil)), t.chains...)
	return t.readChains(ctx, c, s, ours, func(name string) bool {
		_, ok := parseServiceChain(name)
		return ok
	})
}

// readChains reads the chains with their rules. A missing one can be added, but a
// foreign one may see packets at any hook, so it means a new table. Others than
// ours that may be there have no hook.
func (t *table) readChains(ctx context.Context, c nft.Reader, s *snapshot, ours []*nft.Chain, mayBe func(name string) bool) error {
	chains, err := nft.ReadChains(ctx, c, t.Table)
	if err != nil {
		return err
	}
	want := map[string]*nft.Chain{}
	for _, chain := range ours {
		want[chain.Name] = chain
	}
	s.chains = make(map[string][]nft.HeldRule, len(chains))
	for name, got := range chains {
		s.chains[name] = got.Rules
		if chain := want[name]; chain != nil {
			if !got.Is(chain) {
				s.broken = "chain " + name + " is of another kind"
			}
		} else if mayBe == nil || !mayBe(name) || got.Base {
			s.broken = "foreign chain " + name
		}
	}
	return nil
}

// readElements reads the content of all sets.
func (t *table) readElements(ctx context.Context, c nft.Reader, s *snapshot) error {
	r := elementReader{table: t, conn: c, snapshot: s}
	r.known = map[string]serviceChain{}
	for name := range s.chains {
		if chain, ok := parseServiceChain(name); ok {
			r.known[name] = chain
		}
	}
	s.frontends = map[model.FrontendKey]held{}
	for at := range wheres {
		for v := range views {
			if err := r.readVerdicts(ctx, at, v); err != nil {
				return err
			}
		}
	}
	steps := []func(context.Context) error{r.readSources, r.readAllEndpoints, r.readAffinity}
	if t.layout == classifying {
		steps = []func(context.Context) error{r.readSources, r.readMarks}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for _, set := range []*nft.Set{t.clusterIPs, t.nodePorts, t.hairpin} {
		if err := r.readAddrs(ctx, set); err != nil {
			return err
		}
	}
	return nil
}
