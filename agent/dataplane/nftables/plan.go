// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// wanted is what shall be programmed, in both families.
type wanted struct {
	model.Desired
	nodePorts map[netip.Addr]struct{} // the addresses that node ports answer on
}

// contents is what we know to be in the kernel's table.
type contents struct {
	frontends map[model.FrontendKey]held
	chains    map[serviceChain]struct{} // that exist
	users     map[serviceChain]int      // elements that refer to them
	ranges    map[int]int               // source ranges of each length
}

func newContents(frontends int) *contents {
	return &contents{
		frontends: make(map[model.FrontendKey]held, frontends),
		chains:    map[serviceChain]struct{}{},
		users:     map[serviceChain]int{},
		ranges:    map[int]int{},
	}
}

// set replaces what is known of a frontend and counts the users of the chains.
func (c *contents) set(key model.FrontendKey, h held) {
	c.count(c.frontends[key], -1)
	c.count(h, 1)
	if h.views[internal].target.kind == absent && h.views[external].target.kind == absent {
		delete(c.frontends, key)
	} else {
		c.frontends[key] = h
	}
}

// count adds n users to the chains that h refers to, and to the lengths of its
// source ranges.
func (c *contents) count(h held, n int) {
	for _, p := range h.sources {
		if c.ranges[p.Bits()] += n; c.ranges[p.Bits()] == 0 {
			delete(c.ranges, p.Bits())
		}
	}
	for _, v := range h.views {
		if v.target.kind == forward {
			c.users[v.target.chain] += n
			if c.users[v.target.chain] == 0 {
				delete(c.users, v.target.chain)
			}
		}
	}
}

// unused returns the chains that no element refers to any more.
func (c *contents) unused() []serviceChain {
	var out []serviceChain
	for chain := range c.chains {
		if c.users[chain] == 0 {
			out = append(out, chain)
		}
	}
	return out
}

// plan fills a batch with what makes of the snapshot what is wanted, and returns
// the content after that. It does not change the snapshot.
func (t *table) plan(b *nft.Batch, s *snapshot, want *wanted) (*contents, error) {
	constant := append(t.settingsChains(&want.Node), t.chains...)
	if !s.exists || s.broken != "" {
		t.replace(b, s.exists)
		s = &snapshot{}
	}
	for _, c := range constant {
		t.planChain(b, s, c)
	}
	for _, j := range s.junk {
		if j.catchAll {
			b.Delete(j.set).CatchAll()
		} else {
			b.Delete(j.set).Key(j.key)
		}
	}
	after := newContents(len(want.Frontends))
	for key, old := range s.frontends {
		if want.Frontends[key] == nil {
			if _, err := t.update(b, key, old, nil); err != nil {
				return nil, err
			}
		}
	}
	for key, f := range want.Frontends {
		if !t.ours(key.Address) {
			continue
		}
		h, err := t.update(b, key, s.frontends[key], f)
		if err != nil {
			return nil, err
		}
		after.set(key, h)
	}
	for name := range s.chains {
		if c, ok := parseServiceChain(name); ok {
			after.chains[c] = struct{}{}
		}
	}
	t.planSources(b, s.lengths, after.lengths())
	t.planChain(b, s, t.sourcesChain(after.lengths()))
	for c := range after.users {
		t.planChain(b, s, c.build(t))
		after.chains[c] = struct{}{}
	}
	t.planAddrs(b, t.clusterIPs, s.addrs[t.clusterIPs], want.ClusterIPs)
	t.planAddrs(b, t.nodePorts, s.addrs[t.nodePorts], want.nodePorts)
	t.planAddrs(b, t.hairpin, s.addrs[t.hairpin], want.LocalEndpoints)
	return after, nil
}

// replace starts the table anew. It happens within the batch, so there is no
// moment without rules.
func (t *table) replace(b *nft.Batch, exists bool) {
	if exists {
		b.DeleteTable(t.Table)
	}
	b.AddTable(t.Table)
	for _, s := range t.sets {
		b.AddSet(s)
	}
}

// planChain makes a chain be there with its rules.
func (t *table) planChain(b *nft.Batch, s *snapshot, c *nft.Chain) {
	have, exists := s.chains[c.Name]
	switch {
	case !exists:
		b.AddChain(c)
	case !nft.RulesEqual(have, c.Rules):
		b.RewriteRules(c)
	}
}

// planAddrs makes a set hold the wanted addresses of the table's family.
func (t *table) planAddrs(b *nft.Batch, s *nft.Set, have, want map[netip.Addr]struct{}) {
	var key [64]byte
	for a := range have {
		if _, ok := want[a]; !ok {
			b.Delete(s).Key(t.appendAddr(key[:0], s, a))
		}
	}
	for a := range want {
		if _, ok := have[a]; !ok && t.ours(a) {
			b.Add(s).Key(t.appendAddr(key[:0], s, a))
		}
	}
}

// planDelta fills a batch with a change on top of the content, and changes the
// content accordingly.
func (t *table) planDelta(b *nft.Batch, c *contents, delta *model.Delta, before, after *wanted) error {
	lengths := c.lengths()
	for _, change := range delta.Frontends {
		if !t.ours(change.Key.Address) {
			continue
		}
		h, err := t.update(b, change.Key, c.frontends[change.Key], change.New)
		if err != nil {
			return err
		}
		c.set(change.Key, h)
		for _, v := range h.views {
			if _, ok := c.chains[v.target.chain]; v.target.kind == forward && !ok {
				b.AddChain(v.target.chain.build(t))
				c.chains[v.target.chain] = struct{}{}
			}
		}
	}
	if now := c.lengths(); !slices.Equal(lengths, now) {
		t.planSources(b, lengths, now)
		b.RewriteRules(t.sourcesChain(now))
	}
	for s, changes := range map[*nft.Set]model.AddrChanges{t.clusterIPs: delta.ClusterIPs, t.hairpin: delta.LocalEndpoints} {
		t.planAddrs(b, s, addrSet(changes.Removed, t), addrSet(changes.Added, t))
	}
	t.planAddrs(b, t.nodePorts, addrSet(slices.Collect(maps.Keys(before.nodePorts)), t), after.nodePorts)
	if delta.Node != nil {
		old := t.settingsChains(&before.Node)
		for i, now := range t.settingsChains(&after.Node) {
			if !slices.EqualFunc(old[i].Rules, now.Rules, nft.Rule.Equal) {
				b.RewriteRules(now)
			}
		}
	}
	return nil
}

// addrSet returns those of the addresses that are of the table's family.
func addrSet(addrs []netip.Addr, t *table) map[netip.Addr]struct{} {
	out := make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		if t.ours(a) {
			out[a] = struct{}{}
		}
	}
	return out
}
