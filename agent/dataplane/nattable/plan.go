// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// wanted is the state to program, in both families.
type wanted struct {
	model.Desired
	nodePorts map[netip.Addr]struct{} // the addresses that node ports answer on
}

// batches are the result of a plan, in order: first what a detour needs, then the change
// proper, and after each the later deletions. All except the change are usually empty.
type batches [2]struct{ batch, later *nft.Batch }

func newBatches() *batches {
	var b batches
	for i := range b {
		b[i].batch, b[i].later = nft.NewBatch(), nft.NewBatch()
	}
	return &b
}

// inOrder returns the batches that are not empty.
func (b *batches) inOrder() (out []*nft.Batch) {
	for _, step := range b {
		for _, batch := range []*nft.Batch{step.batch, step.later} {
			if batch.Operations() > 0 {
				out = append(out, batch)
			}
		}
	}
	return out
}

func (b *batches) operations() (n int) {
	for _, batch := range b.inOrder() {
		n += batch.Operations()
	}
	return n
}

// plan fills batches with the changes from the snapshot to the wanted state, and returns
// the contents after that. It does not change the snapshot.
func (l *layout) plan(b *batches, s *snapshot, want *wanted) (*contents, error) {
	if !s.exists || s.broken != "" {
		l.replace(b[1].batch, s.exists)
		s = &snapshot{}
	}
	c := contentsOf(l, s, len(want.Frontends))
	frontends := l.allChanged(s, want)
	var orphans []listKey
	for key, h := range c.lists {
		if h.direct+h.shared == 0 {
			orphans = append(orphans, key)
		}
	}
	p := &planner{layout: l, contents: c, batch: b[1].batch, later: b[1].later}
	first := b[1].batch
	detour := p.detour(frontends)
	if detour.n > 0 {
		first = b[0].batch
	}
	for _, chain := range append(l.settingsChains(&want.Node), l.chains...) {
		planChain(first, s, chain)
	}
	for _, j := range s.junk {
		if j.catchAll {
			first.Delete(j.set).CatchAll()
		} else {
			first.Delete(j.set).Key(j.key)
		}
	}
	have := s.lengths
	if detour.n > 0 {
		d := &planner{layout: l, contents: c, batch: first, later: b[0].later}
		if err := d.plan(detour, nil); err != nil {
			return nil, err
		}
		have = d.fitSources(have)
	}
	if err := p.plan(frontends, orphans); err != nil {
		return nil, err
	}
	p.fitSources(have)
	planChain(b[1].batch, s, l.sourcesChain(c.lengths()))
	for name := range s.chains {
		if chain, ok := parsePortChain(name); ok && c.users[chain] > 0 {
			planChain(first, s, l.build(chain))
		}
	}
	l.planAddrs(b[1].batch, l.clusterIPs, s.addrs[l.clusterIPs], want.ClusterIPs)
	l.planAddrs(b[1].batch, l.nodePorts, s.addrs[l.nodePorts], want.nodePorts)
	l.planAddrs(b[1].batch, l.hairpin, s.addrs[l.hairpin], want.LocalEndpoints)
	return c, nil
}

// allChanged returns the wanted frontends, and those in the table.
func (l *layout) allChanged(s *snapshot, want *wanted) changed {
	return changed{len(want.Frontends), func(yield func(model.FrontendKey, *model.Frontend) bool) {
		for key := range s.frontends {
			if want.Frontends[key] == nil && !yield(key, nil) {
				return
			}
		}
		for key, f := range want.Frontends {
			if l.ours(key.Address) && !yield(key, f) {
				return
			}
		}
	}}
}

// replace deletes and adds the table. This happens within the batch, so there is no moment
// without rules.
func (l *layout) replace(b *nft.Batch, exists bool) {
	if exists {
		b.DeleteTable(l.Table)
	}
	b.AddTable(l.Table)
	for _, s := range l.sets {
		b.AddSet(s)
	}
}

// planChain makes a chain have its rules.
func planChain(b *nft.Batch, s *snapshot, c *nft.Chain) {
	have, exists := s.chains[c.Name]
	switch {
	case !exists:
		b.AddChain(c)
	case !nft.RulesEqual(have, c.Rules):
		b.RewriteRules(c)
	}
}

// planAddrs makes a set hold the wanted addresses of the table's family.
func (l *layout) planAddrs(b *nft.Batch, s *nft.Set, have, want map[netip.Addr]struct{}) {
	var key [64]byte
	for a := range have {
		if _, ok := want[a]; !ok {
			b.Delete(s).Key(l.appendAddr(key[:0], s, a))
		}
	}
	for a := range want {
		if _, ok := have[a]; !ok && l.ours(a) {
			b.Add(s).Key(l.appendAddr(key[:0], s, a))
		}
	}
}

// planDelta fills batches with a change on top of the contents, and changes the
// contents accordingly.
func (l *layout) planDelta(b *batches, c *contents, delta *model.Delta, before, after *wanted) error {
	frontends := changed{len(delta.Frontends), func(yield func(model.FrontendKey, *model.Frontend) bool) {
		for _, c := range delta.Frontends {
			if l.ours(c.Key.Address) && !yield(c.Key, c.New) {
				return
			}
		}
	}}
	have := c.lengths()
	for i, frontends := range []changed{(&planner{layout: l, contents: c}).detour(frontends), frontends} {
		p := &planner{layout: l, contents: c, batch: b[i].batch, later: b[i].later}
		if err := p.plan(frontends, nil); err != nil {
			return err
		}
		now := p.fitSources(have)
		if !slices.Equal(have, now) {
			p.batch.RewriteRules(l.sourcesChain(now))
		}
		have = now
	}
	batch := b[1].batch
	for s, changes := range map[*nft.Set]model.AddrChanges{l.clusterIPs: delta.ClusterIPs, l.hairpin: delta.LocalEndpoints} {
		l.planAddrs(batch, s, l.addrSet(changes.Removed), l.addrSet(changes.Added))
	}
	l.planAddrs(batch, l.nodePorts, l.addrSet(slices.Collect(maps.Keys(before.nodePorts))), after.nodePorts)
	if delta.Node != nil {
		old := l.settingsChains(&before.Node)
		for i, now := range l.settingsChains(&after.Node) {
			if !slices.EqualFunc(old[i].Rules, now.Rules, nft.Rule.Equal) {
				batch.RewriteRules(now)
			}
		}
	}
	return nil
}

// addrSet returns the addresses of the table's family.
func (l family) addrSet(addrs []netip.Addr) map[netip.Addr]struct{} {
	out := make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		if l.ours(a) {
			out[a] = struct{}{}
		}
	}
	return out
}

// repairs returns the number of operations from the snapshot back to the last programmed
// state: these undo changes by others.
func (l *layout) repairs(s *snapshot, last *wanted, content *contents) (int, error) {
	b := newBatches()
	after, err := l.plan(b, s, last)
	if err != nil {
		return 0, fmt.Errorf("count repairs: %w", err)
	}
	n := b.operations()
	for _, c := range after.unused() {
		if _, ours := content.chains[c]; !ours {
			n++
		}
	}
	return n, nil
}
