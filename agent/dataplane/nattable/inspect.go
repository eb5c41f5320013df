// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Examined is what Examine has found.
type Examined struct {
	dataplane.Inspection
	Found

	// Marks are the firewall marks of frontends after the change that a Sync would make, and Answering the
	// addresses that node ports would answer on.
	Marks     map[model.FrontendKey]uint32
	Answering map[netip.Addr]struct{}
}

// Examine compares the tables with a desired state: it plans as a Plan that reads the kernel does,
// and commits nothing. What was planned or committed stays as it is.
func (t *Tables) Examine(ctx context.Context, desired model.Desired, look dataplane.Look) (Examined, error) {
	nodePorts, err := t.nodePorts(&desired.Node)
	if err != nil {
		return Examined{}, err
	}
	want := &wanted{Desired: desired, nodePorts: nodePorts}
	out := Examined{Found: Found{Removed: map[model.FrontendKey]uint32{}, NodePorts: map[netip.Addr]struct{}{}},
		Marks: map[model.FrontendKey]uint32{}, Answering: nodePorts}
	for _, protocol := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		if protocol == unix.NFPROTO_IPV6 && look.NoIPv6 {
			continue
		}
		l := newLayout(protocol, TableName, t.Target, false)
		s, err := l.readAside(ctx, t.Client)
		if err != nil {
			return out, err
		}
		if l.V6() && !s.exists && !want.hasIPv6() {
			continue // this kernel may have no IPv6, which no one misses
		}
		planned := newBatches(t.BatchSize)
		after, err := l.plan(planned, s, want)
		if err != nil {
			return out, err
		}
		out.note(l, s, want)
		for key, h := range after.frontends {
			out.Marks[key] = h.mark
		}
		c := &comparison{layout: l, have: s, after: after, want: want, Inspection: &out.Inspection}
		c.compare(planned)
		c.show(look.Shows)
	}
	return out, nil
}

func (w *wanted) hasIPv6() bool {
	for key := range w.Frontends {
		if key.Address.Is6() {
			return true
		}
	}
	return false
}

// comparison is a table as it is, and as it would be after the planned change.
type comparison struct {
	*layout
	*dataplane.Inspection
	have  *snapshot
	after *contents
	want  *wanted

	wrong    map[portChain]bool             // chains with other rules, or missing
	services map[model.FrontendKey][]string // that use the lists of a port; nil: not known yet
}

func (c *comparison) compare(planned *batches) {
	c.wrong = map[portChain]bool{}
	found := len(c.Differences)
	switch {
	case !c.have.exists:
		c.Differ("table "+c.String(), inspection.Missing, "", "")
		return
	case c.have.broken != "":
		c.Differ("table "+c.String(), inspection.Different, c.have.broken, "")
		return
	}
	c.compareChains()
	c.compareSets()
	c.compareFrontends()
	if n := planned.operations(); n > 0 && found == len(c.Differences) {
		// Nothing that is planned may be left out, whatever it is.
		c.Differ("table "+c.String(), inspection.Different, fmt.Sprint(n, " operations to repair"), "")
	}
}

func (c *comparison) compareChains() {
	for _, chain := range fixedChains(c.layout, &c.want.Node, c.after.lengths()) {
		have, exists := c.have.chains[chain.Name]
		c.Compare(c.object("chain", chain.Name), exists, true, nft.RulesEqual(have, chain.Rules), "other rules", "")
	}
	for chain := range c.after.chains {
		have, exists := c.have.chains[chain.name()]
		used := c.after.users[chain] > 0
		equal := exists && nft.RulesEqual(have, c.build(chain).Rules)
		c.wrong[chain] = used && !equal
		c.Compare(c.object("chain", chain.name()), exists, used, equal, "", "")
	}
}

func (c *comparison) compareSets() {
	for _, set := range []struct {
		*nft.Set
		want map[netip.Addr]struct{}
	}{{c.hairpin, c.want.LocalEndpoints}, {c.nodePorts, c.want.nodePorts}, {c.clusterIPs, c.want.ClusterIPs}} {
		have := c.have.addrs[set.Set]
		for a := range set.want {
			if _, ok := have[a]; !ok && c.ours(a) {
				c.Differ(c.object("element", set.Name)+" "+a.String(), inspection.Missing, "", "")
			}
		}
		for a := range have {
			if _, ok := set.want[a]; !ok {
				c.Differ(c.object("element", set.Name)+" "+a.String(), inspection.Superfluous, "", "")
			}
		}
	}
	now := c.after.lengths()
	for _, length := range slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(now), c.have.lengths...)))) {
		c.Compare(c.object("set", c.sourceSet(length).Name), slices.Contains(c.have.lengths, length), slices.Contains(now, length), true, "", "")
	}
	for _, j := range c.have.junk {
		c.Differ(c.object("element", j.set.Name)+fmt.Sprintf(" %x", j.key), inspection.Superfluous, "not one of ours", "")
	}
}

func (c *comparison) compareFrontends() {
	for key, have := range c.have.frontends {
		now, wanted := c.after.frontends[key]
		c.Compare("frontend "+key.String(), true, wanted, have.equal(now), have.String(), now.String(), c.serviceOf(key)...)
	}
	for key, now := range c.after.frontends {
		if _, there := c.have.frontends[key]; !there {
			c.Compare("frontend "+key.String(), false, true, false, "", now.String(), c.serviceOf(key)...)
		}
	}
	for key, have := range c.have.lists {
		now, wanted := c.after.lists[key]
		if !wanted || !have.equal(now) {
			c.Compare(key.String(), true, wanted, false, have.String(), now.String(), c.usersOf(key.home)...)
		}
	}
	for key, now := range c.after.lists {
		if have, there := c.have.lists[key]; !there && !have.equal(now) {
			c.Compare(key.String(), false, true, false, "", now.String(), c.usersOf(key.home)...)
		}
	}
}

// show adds the frontends that are wanted and those that the table has.
func (c *comparison) show(shows func(*model.Frontend) bool) {
	for key, f := range c.want.Frontends {
		if c.ours(key.Address) && shows(f) {
			c.Frontends = append(c.Frontends, c.frontend(key, f))
		}
	}
	for key := range c.have.frontends {
		if c.want.Frontends[key] == nil && shows(nil) {
			c.Frontends = append(c.Frontends, c.frontend(key, nil))
		}
	}
}

func (c *comparison) frontend(key model.FrontendKey, f *model.Frontend) inspection.Frontend {
	out := dataplane.FrontendOf(key, f)
	held, there := c.have.frontends[key]
	now := c.after.frontends[key]
	out.Present, out.Equal = there, there && f != nil && held.equal(now)
	for v, u := range c.target.uses(key, now) {
		list := c.after.lists[u.list]
		out.Equal = out.Equal && !c.wrong[now.views[v].verdict.chain] && (u.list == (listKey{}) ||
			c.have.lists[u.list].equal(list) && (!u.shared || !c.wrong[list.spread.chain]))
	}
	if !there {
		return out
	}
	uses := c.target.uses(key, held)
	out.Internal = c.backend(held.views[internal], uses[internal])
	out.External = c.backend(held.views[external], uses[external])
	out.Rules = c.elements(key, held, uses)
	return out
}

// backend returns what a view does; nil: there is none.
func (c *comparison) backend(v heldView, u use) *inspection.Backend {
	switch {
	case v.port.isSet() || v.verdict.kind == forward:
		list := c.have.lists[u.list]
		return &inspection.Backend{Verdict: model.Forward, Endpoints: dataplane.EndpointTexts(append(slices.Clone(list.endpoints), list.choices...))}
	case v.verdict.kind == refuse:
		return &inspection.Backend{Verdict: model.Reject}
	case v.verdict.kind == drop:
		return &inspection.Backend{Verdict: model.Drop}
	case v.verdict.kind == foreign:
		return &inspection.Backend{}
	}
	return nil
}

func (c *comparison) serviceOf(key model.FrontendKey) []string {
	if f := c.want.Frontends[key]; f != nil {
		return []string{inspection.ServiceOf(f)}
	}
	return nil
}

// usersOf returns the Services whose frontends use the lists of a port: usually one.
func (c *comparison) usersOf(home model.FrontendKey) []string {
	if c.services == nil {
		c.services = map[model.FrontendKey][]string{}
		for key, f := range c.want.Frontends {
			for _, at := range slices.Compact([]model.FrontendKey{f.Home(), key}) {
				if of := inspection.ServiceOf(f); !slices.Contains(c.services[at], of) {
					c.services[at] = append(c.services[at], of)
				}
			}
		}
	}
	return slices.Clone(c.services[home])
}

// object names an object of the table as nft does.
func (c *comparison) object(kind, name string) string {
	return kind + " " + c.String() + " " + name
}

// equal says whether two contents are the same.
func (h heldFrontend) equal(o heldFrontend) bool {
	return h.views == o.views && h.mark == o.mark && h.restricted == o.restricted && slices.Equal(h.sources, o.sources)
}

func (h heldFrontend) String() string {
	var parts []string
	for v, held := range h.views {
		text := held.verdict.String()
		if held.port.isSet() {
			text = "as " + held.port.home.String() + ", masquerade " + masqueradeNames[held.port.masquerade]
		}
		if text != "" {
			parts = append(parts, [views]string{"", "from outside: "}[v]+text)
		}
	}
	if h.mark != 0 {
		parts = append(parts, fmt.Sprintf("mark %#x", h.mark))
	}
	if h.restricted {
		parts = append(parts, fmt.Sprint("only from ", h.sources))
	}
	return strings.Join(parts, "; ")
}

func (v verdict) String() string {
	switch v.kind {
	case absent:
		return ""
	case foreign:
		return "a verdict that is not ours"
	case drop:
		return "drop"
	}
	return "goto " + v.element().Chain
}

// equal says whether two lists have the same content. The frontends that use them do not count.
func (h heldList) equal(o heldList) bool {
	return slices.Equal(h.endpoints, o.endpoints) && slices.Equal(h.choices, o.choices) && slices.Equal(h.affine, o.affine) && h.spread == o.spread
}

func (h heldList) String() string {
	var parts []string
	for _, list := range []struct {
		name      string
		endpoints []model.Endpoint
	}{{"", h.endpoints}, {"with affinity ", h.choices}, {"for known clients ", h.affine}} {
		if len(list.endpoints) > 0 {
			parts = append(parts, list.name+strings.Join(dataplane.EndpointTexts(list.endpoints), ", "))
		}
	}
	if h.spread.kind != absent {
		parts = append(parts, h.spread.String())
	}
	return strings.Join(parts, "; ")
}

func (k listKey) String() string {
	return [lists]string{clusterList: "endpoints of ", localList: "local endpoints of "}[k.list] + k.home.String()
}
