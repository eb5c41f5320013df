// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

var _ dataplane.Inspector = (*Dataplane)(nil)

// Inspect compares the rules in the kernel with those of a desired state: it plans the script that a
// Sync would run. What node ports on localhost need besides is not compared.
func (d *Dataplane) Inspect(ctx context.Context, desired model.Desired, look dataplane.Look) (dataplane.Inspection, error) {
	var out dataplane.Inspection
	if err := d.prepare(ctx); err != nil {
		return out, err
	}
	settings, err := d.settings(desired.Node)
	if err != nil {
		return out, err
	}
	delta := model.Diff(model.NewDesired(), desired)
	for _, v6 := range []bool{false, true} {
		if v6 && (look.NoIPv6 || d.noIPv6 != nil) {
			continue
		}
		c := &comparison{family: newFamily(v6), Inspection: &out, rules: map[string][]string{}}
		if err := c.want.check(&delta); err != nil {
			return out, err
		}
		s := settings
		s.v6 = v6
		c.want.apply(&delta, &s)
		if err := c.read(ctx, d.kernel, desired, look.Shows); err != nil {
			return out, fmt.Errorf("%s: %w", c.family, err)
		}
		c.compare()
		for _, f := range desired.Frontends {
			if f.Key.Address.Is6() == v6 && look.Shows(f) {
				c.Frontends = append(c.Frontends, c.frontend(f))
			}
		}
	}
	return out, nil
}

// comparison is the rules of a family as they are and as they should be.
type comparison struct {
	*family
	*dataplane.Inspection
	wrong map[chainID]bool    // chains that are missing or have other rules
	rules map[string][]string // in the kernel, of chains of the table nat; see keeps
}

// read reads the sums of all chains, and the rules of those that are shown, and of all that lead to
// frontends: these are one for each.
func (c *comparison) read(ctx context.Context, k kernel, desired model.Desired, shows func(*model.Frontend) bool) error {
	shown := map[string]struct{}{}
	for _, f := range desired.Frontends {
		if f.Key.Address.Is6() == c.v6 && shows(f) {
			for _, name := range c.want.chains[portOf(f)] {
				shown[name] = struct{}{}
			}
		}
	}
	err := c.held.readWith(ctx, k, c.v6, allTables, func(chain, rule string) {
		if _, is := shown[chain]; is || isTree(chain) {
			c.rules[chain] = append(c.rules[chain], rule)
		}
	})
	c.held.leaveOutMangle() // see localhost.go
	return err
}

// isTree says whether a chain leads to frontends.
func isTree(chain string) bool {
	return strings.HasPrefix(chain, prefixAddress) || strings.HasPrefix(chain, prefixPorts) ||
		strings.HasPrefix(chain, rootAddresses[internal]) || strings.HasPrefix(chain, rootNodePorts[internal])
}

func (c *comparison) compare() {
	c.wrong = map[chainID]bool{}
	script := c.plan(c.all())
	for table, chains := range script.chains {
		for name := range chains {
			id := chainID{table, name}
			c.wrong[id] = true
			_, exists := c.held.sums[id]
			have, want := "", ""
			services := c.owner(name)
			if isTree(name) && exists {
				more, fewer := difference(c.rules[name], c.want.rules(id))
				have, want = strings.Join(more, "; "), strings.Join(fewer, "; ")
				services = servicesIn(append(more, fewer...))
			}
			c.Compare(c.object(id), exists, true, false, have, want, services...)
		}
	}
	for table, names := range script.gone {
		for _, name := range names {
			c.Compare(c.object(chainID{table, name}), true, false, false, "", "", c.owner(name)...)
		}
	}
	for _, j := range jumps {
		if n := c.held.jumps[j]; n != 1 {
			c.Compare("rule "+j.table+" "+j.rule()+c.suffix(), n > 0, true, false, fmt.Sprint(n, " times"), "once")
		}
	}
}

// object names a chain.
func (c *comparison) object(id chainID) string {
	return "chain " + id.table + " " + id.name + c.suffix()
}

func (c *comparison) suffix() string {
	if c.v6 {
		return " (IPv6)"
	}
	return ""
}

// owner returns the Service that has a chain.
func (c *comparison) owner(chain string) []string {
	if id, ok := c.want.owners[chain]; ok {
		return []string{id.service.Namespace + "/" + id.service.Name}
	}
	return nil
}

// difference returns the rules that are only in the first list, and those only in the second.
func difference(a, b []string) (onlyA, onlyB []string) {
	without := func(list, other []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(rule string) bool { return slices.Contains(other, rule) })
	}
	return without(a, b), without(b, a)
}

// commented is the name of a Service in a rule, see comment.
var commented = regexp.MustCompile(`--comment "?([^":]+/[^": ]+)`)

func servicesIn(rules []string) (out []string) {
	for _, rule := range rules {
		if found := commented.FindStringSubmatch(rule); found != nil {
			out = append(out, found[1])
		}
	}
	return out
}

func (c *comparison) frontend(f *model.Frontend) inspection.Frontend {
	out := dataplane.FrontendOf(f.Key, f)
	out.Present, out.Equal = true, true
	var lines []string
	for v := range f.Views() {
		chain, want := c.want.views[v].leadsTo(f.Key)
		backend := &inspection.Backend{}
		for n, rule := range want {
			i := slices.IndexFunc(c.rules[chain], func(r string) bool { return untilTarget(r) == untilTarget(rule) })
			if i < 0 {
				out.Present = out.Present && (v != internal || n < len(want)-1) // the last one leads to the frontend
				out.Equal = false
				continue
			}
			have := c.rules[chain][i]
			out.Equal = out.Equal && have == rule
			lines = append(lines, "-A "+chain+" "+have)
			if to, ok := target(have); ok && to != chainSources {
				lines = append(lines, c.follow(to, backend)...)
			}
		}
		if v == internal {
			out.Internal = backend
		} else {
			out.External = backend
		}
	}
	for _, name := range c.want.chains[portOf(f)] {
		out.Equal = out.Equal && !c.wrong[chainID{tableNAT, name}]
	}
	if !out.Present {
		out.Internal, out.External = nil, nil
	}
	out.Rules = lines
	return out
}

// follow returns the rules of a chain in the kernel and of those that it leads to, and notes what
// becomes of a connection.
func (c *comparison) follow(chain string, b *inspection.Backend) (lines []string) {
	switch chain {
	case chainRefuse:
		b.Verdict = model.Reject
	case chainDrop:
		b.Verdict = model.Drop
	}
	gate := strings.HasPrefix(chain, prefixGate) // all allowed sources are led to the same chain
	var endpoints []model.Endpoint
	for i, rule := range c.rules[chain] {
		lines = append(lines, "-A "+chain+" "+rule)
		if _, text, ok := strings.Cut(rule, "--to-destination "); ok {
			if e, err := netip.ParseAddrPort(text); err == nil {
				endpoints = append(endpoints, e)
			}
		}
		to, leads := target(rule)
		if leads && to != chain && (strings.HasPrefix(to, prefixTo) || strings.HasPrefix(to, prefixHead) || gate && i == 0) {
			lines = append(lines, c.follow(to, b)...)
		}
	}
	if len(endpoints) > 0 {
		b.Verdict, b.Endpoints = model.Forward, slices.Compact(dataplane.EndpointTexts(endpoints))
	}
	return lines
}

// untilTarget is a rule without what it leads to.
func untilTarget(rule string) string {
	match, to, found := strings.Cut(rule, " -g ")
	if !found {
		match, to, _ = strings.Cut(rule, " -j ")
	}
	if to == chainSources {
		return rule // it precedes one with the same match
	}
	return match
}

// target returns the chain that a rule leads to.
func target(rule string) (string, bool) {
	words := strings.Fields(rule)
	if len(words) < 2 || words[len(words)-2] != "-g" && words[len(words)-2] != "-j" {
		return "", false
	}
	return words[len(words)-1], true
}

// leadsTo returns the chain with the rules that lead to a frontend, and these rules.
func (d *dispatch) leadsTo(k model.FrontendKey) (chain string, rules []string) {
	port, ports := portKey{k.Protocol, k.Port}, d.nodePorts
	if !k.IsNodePort() {
		a := d.byAddr[k.Address]
		if a == nil {
			return "", nil
		}
		if a.many == nil {
			return d.addresses.leaf(k.Address), []string{a.ports[port].rule("-d "+single(k.Address)+" ", port)}
		}
		ports = a.many
	}
	if _, ok := ports.to[port]; !ok {
		return "", nil
	}
	return ports.tree.leaf(port), ports.tree.rules(port)
}
