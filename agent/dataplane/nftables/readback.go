// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// snapshot is what the kernel holds of a table.
type snapshot struct {
	exists bool

	// broken says why the table has to be replaced as a whole; then there is
	// nothing else in the snapshot.
	broken string

	chains    map[string][]heldRule
	frontends map[model.FrontendKey]held
	addrs     map[*set]map[netip.Addr]struct{}
	lengths   []int  // of the source ranges for which there is a set
	junk      []junk // elements that we would never make
}

// dumper lists the objects of a kind in the kernel, see conn.dump.
type dumper interface {
	dump(ctx context.Context, msgType int, family byte, filter []byte, restart func(), each func(attrs []byte) error) error
}

// heldRule is a rule as the kernel sends it.
type heldRule struct{ exprs, userdata []byte }

// junk is an element to delete.
type junk struct {
	set      *set
	key      []byte
	catchAll bool
}

// rulesEqual says whether a chain has exactly these rules.
func rulesEqual(have []heldRule, want []rule) bool {
	if len(have) != len(want) {
		return false
	}
	for i, r := range want {
		if !bytes.Equal(have[i].userdata, r.userdata()) || count(have[i].exprs) != count(r.exprs) ||
			!covers(have[i].exprs, r.exprs) {
			return false
		}
	}
	return true
}

func count(b []byte) int {
	n := 0
	for range attrs(b) {
		n++
	}
	return n
}

// read takes the snapshot. The kernel is asked object by object, so that no more
// than a message of raw elements is in memory.
func (t *table) read(ctx context.Context, c dumper) (*snapshot, error) {
	s := &snapshot{addrs: map[*set]map[netip.Addr]struct{}{}}
	for _, step := range []func(context.Context, dumper, *snapshot) error{
		t.readTable, t.readSets, t.readAllChains, t.readRules, t.readElements,
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
func (t *table) readTable(ctx context.Context, c dumper, s *snapshot) error {
	return c.dump(ctx, unix.NFT_MSG_GETTABLE, t.family, nil,
		func() { s.exists, s.broken = false, "" },
		func(got []byte) error {
			if textOf(find(got, unix.NFTA_TABLE_NAME)) != t.name {
				return nil
			}
			s.exists = true
			if !covers(got, t.attrs) {
				s.broken = "another layout version, or other flags"
			}
			return nil
		})
}

// named returns the attribute that names our table. It has the same number in
// messages about tables, sets, chains and rules. In a request for a dump it is a
// filter, which older kernels ignore for some kinds of objects.
func (t *table) named() []byte {
	var w buffer
	w.text(unix.NFTA_TABLE_NAME, t.name)
	return w.b
}

// readSets checks that the sets are exactly ours. A set cannot be changed once it
// exists, so anything else means a new table.
func (t *table) readSets(ctx context.Context, c dumper, s *snapshot) error {
	want := map[string]*set{}
	err := c.dump(ctx, unix.NFT_MSG_GETSET, t.family, t.named(),
		func() {
			s.broken, s.lengths = "", nil
			for _, set := range t.sets {
				want[set.name] = set
			}
		},
		func(got []byte) error {
			if textOf(find(got, unix.NFTA_SET_TABLE)) != t.name {
				return nil
			}
			name := textOf(find(got, unix.NFTA_SET_NAME))
			set := want[name]
			if length, ok := t.parseSourceSet(name); ok {
				set = t.sourceSet(length)
				s.lengths = append(s.lengths, length)
			}
			if set == nil {
				s.broken = "foreign set " + name
			} else if !covers(got, set.attrs) || !set.isMap && find(got, unix.NFTA_SET_FLAGS) != nil {
				s.broken = "set " + name + " is of another kind"
			}
			delete(want, name)
			return nil
		})
	for name := range want {
		s.broken = "set " + name + " is missing"
	}
	return err
}

// readAllChains collects the names of the chains.
func (t *table) readAllChains(ctx context.Context, c dumper, s *snapshot) error {
	ours := append(append(t.settingsChains(&model.NodeSettings{}), t.sourcesChain(nil)), t.chains...)
	return t.readChains(ctx, c, s, ours, func(name string) bool {
		_, ok := parseServiceChain(name)
		return ok
	})
}

// readChains collects the names of the chains. A missing one can be added, but a
// foreign one may see packets at any hook, so it means a new table. Others than
// ours that may be there have no hook.
func (t *table) readChains(ctx context.Context, c dumper, s *snapshot, ours []*chain, mayBe func(name string) bool) error {
	want := map[string]*chain{}
	for _, chain := range ours {
		want[chain.name] = chain
	}
	return c.dump(ctx, unix.NFT_MSG_GETCHAIN, t.family, t.named(),
		func() { s.broken, s.chains = "", map[string][]heldRule{} },
		func(got []byte) error {
			if textOf(find(got, unix.NFTA_CHAIN_TABLE)) != t.name {
				return nil
			}
			name := textOf(find(got, unix.NFTA_CHAIN_NAME))
			isBase := find(got, unix.NFTA_CHAIN_HOOK) != nil
			s.chains[name] = nil
			if chain := want[name]; chain != nil {
				if !covers(got, chain.attrs) || chain.base != isBase {
					s.broken = "chain " + name + " is of another kind"
				}
			} else if mayBe == nil || !mayBe(name) || isBase {
				s.broken = "foreign chain " + name
			}
			return nil
		})
}

// readRules collects the rules of each chain in their order.
func (t *table) readRules(ctx context.Context, c dumper, s *snapshot) error {
	return c.dump(ctx, unix.NFT_MSG_GETRULE, t.family, t.named(),
		func() {
			for name := range s.chains {
				s.chains[name] = nil
			}
		},
		func(got []byte) error {
			name := textOf(find(got, unix.NFTA_RULE_CHAIN))
			if textOf(find(got, unix.NFTA_RULE_TABLE)) != t.name {
				return nil
			}
			s.chains[name] = append(s.chains[name], heldRule{
				exprs:    bytes.Clone(find(got, unix.NFTA_RULE_EXPRESSIONS)),
				userdata: bytes.Clone(find(got, unix.NFTA_RULE_USERDATA)),
			})
			return nil
		})
}

// readElements reads the content of all sets.
func (t *table) readElements(ctx context.Context, c dumper, s *snapshot) error {
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
	for _, set := range []*set{t.clusterIPs, t.nodePorts, t.hairpin} {
		if err := r.readAddrs(ctx, set); err != nil {
			return err
		}
	}
	return nil
}
