// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// contents is the known content of a table.
type contents struct {
	frontends map[model.FrontendKey]heldFrontend
	lists     map[listKey]heldList
	chains    map[portChain]struct{} // that exist
	damaged   map[portChain]struct{} // those of them with other rules
	users     map[portChain]int      // elements that refer to them
	ranges    map[int]int            // source ranges of each length
	marks     assignedMarks
}

// heldFrontend is the content of a table for a frontend.
type heldFrontend struct {
	views   [views]heldView
	mark    uint32         // firewall mark of packets from outside; 0: none
	sources []netip.Prefix // sorted

	restricted bool
}

// heldView is a verdict, or a port in its place.
type heldView struct {
	verdict verdict
	port    port
}

// port is the key of the port that a frontend leads to, and its masquerade decision.
type port struct {
	home       model.FrontendKey // zero: none
	masquerade masquerade
}

func (p port) isSet() bool { return p.home.Address.IsValid() }

// listKey names a list of endpoints: the key of the port, and which of its two.
type listKey struct {
	home model.FrontendKey
	list list
}

// heldList is the content of a table for a list of endpoints. An invalid endpoint is a
// gap, made by an external change.
type heldList struct {
	endpoints []model.Endpoint // by number
	choices   []model.Endpoint // by number, in place of endpoints with affinity
	affine    []model.Endpoint // with affinity, sorted
	spread    verdict          // for frontends that lead here through the port's key

	direct, shared int32 // views of frontends that lead here
}

// shrinks says whether a list has elements that it has no more when it is now.
func (h heldList) shrinks(now heldList) bool {
	return len(now.endpoints) < len(h.endpoints) || len(now.choices) < len(h.choices) || !slices.Equal(now.affine, h.affine) ||
		h.spread != (verdict{}) && now.spread == (verdict{})
}

func newContents(frontends, lists int) *contents {
	return &contents{
		frontends: make(map[model.FrontendKey]heldFrontend, frontends),
		lists:     make(map[listKey]heldList, lists),
		chains:    map[portChain]struct{}{},
		damaged:   map[portChain]struct{}{},
		users:     map[portChain]int{},
		ranges:    map[int]int{},
		marks:     assignedMarks{},
	}
}

// contentsOf takes over a snapshot, with room for changed frontends.
func contentsOf(l *layout, s *snapshot, frontends changed) *contents {
	c := newContents(max(frontends.n, len(s.frontends)), max(frontends.ports, len(s.lists)))
	maps.Copy(c.frontends, s.frontends)
	maps.Copy(c.lists, s.lists)
	for key, h := range c.frontends {
		c.count(h, 1)
		if h.mark != 0 {
			c.marks.take(key, h.mark)
		}
		c.use(l.target.uses(key, h), 1)
	}
	for _, h := range c.lists {
		c.user(h.spread, 1)
	}
	for name, have := range s.chains {
		if chain, ok := parsePortChain(name); ok {
			c.chains[chain] = struct{}{}
			if !nft.RulesEqual(have, l.build(chain).Rules) {
				c.damaged[chain] = struct{}{}
			}
		}
	}
	return c
}

// set replaces the known content for a frontend.
func (c *contents) set(key model.FrontendKey, h heldFrontend, exists bool) {
	c.count(c.frontends[key], -1)
	c.count(h, 1)
	if exists {
		c.frontends[key] = h
	} else {
		delete(c.frontends, key)
	}
}

// count adds n users to the chains that h refers to, and to the lengths of its
// source ranges.
func (c *contents) count(h heldFrontend, n int) {
	for _, p := range h.sources {
		if c.ranges[p.Bits()] += n; c.ranges[p.Bits()] == 0 {
			delete(c.ranges, p.Bits())
		}
	}
	for _, v := range h.views {
		c.user(v.verdict, n)
	}
}

func (c *contents) user(v verdict, n int) {
	if v.kind != forward {
		return
	}
	if c.users[v.chain] += n; c.users[v.chain] == 0 {
		delete(c.users, v.chain)
	}
}

// use adds n to the users of lists.
func (c *contents) use(uses [views]use, n int32) {
	for _, u := range uses {
		if u.list == (listKey{}) {
			continue
		}
		h := c.lists[u.list]
		if u.shared {
			h.shared += n
		} else {
			h.direct += n
		}
		c.lists[u.list] = h
	}
}

// unused returns the chains that no element refers to any more.
func (c *contents) unused() []portChain {
	var out []portChain
	for chain := range c.chains {
		if c.users[chain] == 0 {
			out = append(out, chain)
		}
	}
	return out
}

// lengths returns the lengths of source ranges in use, sorted.
func (c *contents) lengths() []int { return slices.Sorted(maps.Keys(c.ranges)) }
