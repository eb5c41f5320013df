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

// plan fills batches with the changes from the snapshot to the wanted state, and returns
// the contents after that. It does not change the snapshot.
//
// A hook that is missing comes last: it may not see packets while the maps are not
// complete. A table that is replaced is one batch, because its predecessor serves until
// then.
func (l *layout) plan(b *batches, s *snapshot, want *wanted) (*contents, error) {
	if !s.exists || s.broken != "" {
		if s.exists {
			l.dropRefused(b[0].batch)
		}
		l.replace(b[1].batch, s.exists)
		b[1].batch.whole = s.exists
		defer func() { b[1].batch.whole = false }()
		s = &snapshot{}
	}
	frontends := l.allChanged(s, want)
	c := contentsOf(l, s, frontends)
	var orphans []listKey
	for key, h := range c.lists {
		if h.direct+h.shared == 0 {
			orphans = append(orphans, key)
		}
	}
	p := &planner{l, c, b[1]}
	first, detour := p, p.detour(frontends)
	if detour.n > 0 {
		first = &planner{l, c, b[0]}
	}
	lengths := p.addLengths(first.batch, s.lengths, frontends)
	var hooks []*nft.Chain
	for _, chain := range fixedChains(l, &want.Node, lengths) {
		if _, exists := s.chains[chain.Name]; chain.IsBase() && !exists {
			hooks = append(hooks, chain)
		} else if planChain(first.batch, s, chain) {
			first.step.chains = first.batch // new chains may lead to this one
		}
	}
	for _, j := range s.junk {
		if j.catchAll {
			first.batch.Delete(j.set).CatchAll()
		} else {
			first.batch.Delete(j.set).Key(j.key)
		}
		first.batch.mayEnd()
	}
	if detour.n > 0 {
		if err := first.plan(detour, nil); err != nil {
			return nil, err
		}
	}
	addrs := []addrChange{
		{l.hairpin, s.addrs[l.hairpin], want.LocalEndpoints},
		{l.nodePorts, s.addrs[l.nodePorts], want.nodePorts},
		{l.clusterIPs, s.addrs[l.clusterIPs], want.ClusterIPs},
	}
	p.addAddrs(addrs)
	if err := p.plan(frontends, orphans); err != nil {
		return nil, err
	}
	p.deleteAddrs(addrs)
	if now := p.deleteLengths(append(s.lengths, lengths...)); !slices.Equal(now, lengths) {
		p.batch.RewriteRules(l.sourcesChain(now))
	}
	for _, chain := range hooks {
		p.batch.AddChain(chain)
	}
	return c, nil
}

// fixedChains returns the chains that do not depend on the Services, except for the lengths of
// source ranges.
func fixedChains(l *layout, s *model.NodeSettings, lengths []int) []*nft.Chain {
	return slices.Concat(l.settingsChains(s), l.chains, []*nft.Chain{l.sourcesChain(lengths)})
}

// allChanged returns the wanted frontends, and those in the table.
func (l *layout) allChanged(s *snapshot, want *wanted) changed {
	n, ports := 0, 0
	for key, f := range want.Frontends {
		if l.ours(key.Address) {
			n++
			if f.Home() == key {
				ports++
			}
		}
	}
	return changed{n, ports, func(yield func(model.FrontendKey, *model.Frontend) bool) {
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

// dropRefused makes the table drop the packets that it would refuse, before it is replaced.
// The replacement is not atomic for a packet that is being looked up at that moment: it
// finds the set of cluster IPs, but not the map of frontends any more (seen on Linux 6.1).
// The client sends a dropped packet again.
func (l *layout) dropRefused(b *parts) {
	b.AddChain(l.NewChain(chainRefuse, nil)) // another layout may not have it
	b.RewriteRules(l.NewChain(chainRefuse, nil, l.NewRule("the table is being replaced", nft.Drop())))
}

// replace deletes and adds the table. This happens within the batch, so there is no moment
// without rules.
func (l *layout) replace(b *parts, exists bool) {
	if exists {
		b.DeleteTable(l.Table)
	}
	b.AddTable(l.Table)
	for _, s := range l.sets {
		b.AddSet(s)
	}
}

// planChain makes a chain have its rules, and returns whether it is new.
func planChain(b *parts, s *snapshot, c *nft.Chain) (added bool) {
	have, exists := s.chains[c.Name]
	switch {
	case !exists:
		b.AddChain(c)
	case !nft.RulesEqual(have, c.Rules):
		b.RewriteRules(c)
	}
	return !exists
}

// addrChange is a set of addresses, with those it has and the wanted ones.
type addrChange struct {
	set        *nft.Set
	have, want map[netip.Addr]struct{}
}

// addAddrs adds addresses of the table's family.
func (p *planner) addAddrs(changes []addrChange) {
	var key [64]byte
	for _, c := range changes {
		for a := range c.want {
			if _, ok := c.have[a]; !ok && p.ours(a) {
				p.batch.Add(c.set).Key(p.appendAddr(key[:0], c.set, a))
				p.batch.mayEnd()
			}
		}
	}
}

// deleteAddrs deletes addresses that are not wanted.
func (p *planner) deleteAddrs(changes []addrChange) {
	var key [64]byte
	for _, c := range changes {
		for a := range c.have {
			if _, ok := c.want[a]; !ok {
				p.batch.Delete(c.set).Key(p.appendAddr(key[:0], c.set, a))
				p.batch.mayEnd()
			}
		}
	}
}

// planDelta fills batches with a change on top of the contents, and changes the
// contents accordingly.
func (l *layout) planDelta(b *batches, c *contents, delta *model.Delta, before, after *wanted) error {
	frontends := changed{len(delta.Frontends), len(delta.Frontends), func(yield func(model.FrontendKey, *model.Frontend) bool) {
		for _, c := range delta.Frontends {
			if l.ours(c.Key.Address) && !yield(c.Key, c.New) {
				return
			}
		}
	}}
	p := &planner{l, c, b[1]}
	first, detour := p, p.detour(frontends)
	if detour.n > 0 {
		first = &planner{l, c, b[0]}
	}
	if delta.Node != nil {
		l.planSettings(first.batch, &before.Node, &after.Node)
	}
	have := c.lengths()
	lengths := p.addLengths(first.batch, have, frontends)
	if !slices.Equal(have, lengths) {
		first.batch.RewriteRules(l.sourcesChain(lengths))
	}
	if detour.n > 0 {
		if err := first.plan(detour, nil); err != nil {
			return err
		}
	}
	addrs := []addrChange{
		{l.hairpin, l.addrSet(delta.LocalEndpoints.Removed), l.addrSet(delta.LocalEndpoints.Added)},
		{l.nodePorts, l.addrSet(slices.Collect(maps.Keys(before.nodePorts))), after.nodePorts},
		{l.clusterIPs, l.addrSet(delta.ClusterIPs.Removed), l.addrSet(delta.ClusterIPs.Added)},
	}
	p.addAddrs(addrs)
	if err := p.plan(frontends, nil); err != nil {
		return err
	}
	p.deleteAddrs(addrs)
	if now := p.deleteLengths(lengths); !slices.Equal(now, lengths) {
		p.batch.RewriteRules(l.sourcesChain(now))
	}
	return nil
}

// planSettings rewrites the chains that depend on the node's settings. It precedes the
// frontends: the sources of node ports have to be there before the first node port is
// restricted.
func (l *layout) planSettings(b *parts, before, after *model.NodeSettings) {
	old := l.settingsChains(before)
	for i, now := range l.settingsChains(after) {
		if !slices.EqualFunc(old[i].Rules, now.Rules, nft.Rule.Equal) {
			b.RewriteRules(now)
		}
	}
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
	b := newBatches(batchSize)
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
