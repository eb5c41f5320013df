// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"iter"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// dnat is the target DNAT.
type dnat struct {
	*layout

	// ports has the frontends that use the endpoints of another frontend, the port's: its
	// key, and their masquerade decision. The internal view leads to the cluster-wide
	// list, the external one to the local list.
	ports [views]*nft.Set

	// spread has the chains of those ports. endpoints are by the port's key and number.
	spread, endpoints [lists]*nft.Set

	// affinity remembers the endpoints of clients, see affinity.go. choices are the
	// endpoints of a port with affinity, and affine the same without numbers.
	affinity        [affinityGroups]*nft.Set
	choices, affine [lists]*nft.Set
}

// The chains of frontends that ports has.
var chainsShared = [wheres][views]string{
	onAddress:  {internal: "shared", external: "outside-shared"},
	onNodePort: {internal: "nodeport-shared", external: "outside-nodeport-shared"},
}

var listSuffixes = [lists]string{clusterList: "", localList: "-local"}

// listOf returns the list that ports leads to in a view; viewOf is the reverse.
func listOf(v view) list { return [views]list{internal: clusterList, external: localList}[v] }
func viewOf(l list) view { return [lists]view{clusterList: internal, localList: external}[l] }

func newDNAT(l *layout) target {
	d := &dnat{layout: l}
	key, endpoint := l.keyFields(), []nft.Field{l.DestinationField(), nft.PortField()}
	indexed := append(slices.Clone(key), nft.NumberField())
	for v, suffix := range viewSuffixes {
		d.ports[v] = l.addSet(nft.SetSpec{Name: "ports" + suffix, Key: key, Data: append(slices.Clone(key), nft.MarkField())})
	}
	for group := range d.affinity {
		d.affinity[group] = l.addSet(nft.SetSpec{Name: affinityName(uint8(group)), Dynamic: affinitySize, Key: append(slices.Clone(key), l.SourceField()), Data: key})
	}
	for i, suffix := range listSuffixes {
		d.spread[i] = l.addSet(nft.SetSpec{Name: "spread" + suffix, Key: key, Verdicts: true})
		d.endpoints[i] = l.addSet(nft.SetSpec{Name: "endpoints" + suffix, Key: indexed, Data: endpoint})
		d.choices[i] = l.addSet(nft.SetSpec{Name: "affinity-choices" + suffix, Key: indexed, Data: key})
		d.affine[i] = l.addSet(nft.SetSpec{Name: "affinity-endpoints" + suffix, Key: append(slices.Clone(endpoint), key...)})
	}
	return d
}

// port loads the key of the port that a frontend leads to.
func (d *dnat) port(at where, v view, reg int) []nft.Expr {
	return append(d.key(at, reg), nft.DataOf(d.ports[v], reg, reg), nft.Protocol(reg))
}

// plainPort is port for the first registers, where nft can print an address that cannot be
// masked. It uses more registers.
func (d *dnat) plainPort(at where, v view) []nft.Expr {
	if at == onAddress {
		return d.port(at, v, 0)
	}
	more := d.keyWords()
	return slices.Concat(d.key(onAddress, 0), d.key(at, more), one(nft.DataOf(d.ports[v], more, 0), nft.Protocol(0)))
}

func (d *dnat) lookups(at where, v view, gate []nft.Expr) []nft.Rule {
	return []nft.Rule{d.rule("if it is in @"+d.ports[v].Name, gate, d.port(at, v, 0), one(nft.Goto(chainsShared[at][v])))}
}

func (d *dnat) localhost(comment string, gate []nft.Expr) []nft.Rule {
	return []nft.Rule{d.rule(comment+", if it is in @ports", gate, d.port(onNodePort, internal, 0),
		one(nft.Goto(chainsShared[onNodePort][internal])))}
}

func (d *dnat) output() []nft.Rule                    { return nil }
func (d *dnat) postrouting() ([]nft.Rule, []nft.Expr) { return nil, nft.Translated() }

// chains are those of the frontends in ports: they mark packets to be masqueraded, and
// continue at the chain of the port. Only that chain depends on the number of endpoints,
// so that adding an endpoint does not concern each frontend.
func (d *dnat) chains() []*nft.Chain {
	var out []*nft.Chain
	for at := range wheres {
		for v := range views {
			how := func(m masquerade) []nft.Expr {
				reg := d.keyWords()
				return slices.Concat(one(nft.LoadMark(reg)), d.port(at, v, 0), one(nft.EqualsAt(reg, native(uint32(m)))))
			}
			out = append(out, d.NewChain(chainsShared[at][v], nil,
				d.rule("masquerade unless it is a Pod's", how(masqueradeUnlessPod), one(nft.Jump(chainMark))),
				d.rule("masquerade always", how(masqueradeAlways), one(nft.LoadMark(0), setBits(masqueradeMark), nft.StoreMark())),
				d.rule("", d.port(at, v, 0), one(nft.VerdictOf(d.spread[listOf(v)]))),
				d.NewRule("", nft.Drop())))
		}
	}
	return out
}

// rules distribute packets over the endpoints of a port.
//
// A lookup sees the newest elements although the packet may have come by older rules. So a
// number can be gone: then the first endpoint is taken.
func (d *dnat) rules(c portChain) (out []nft.Rule) {
	if c.role == own {
		return d.choose(c, nil, d.key(onAddress, 0), func(reg int) []nft.Expr { return d.key(onAddress, reg) })
	}
	for at, gate := range [wheres][]nft.Expr{
		// Packets to the loopback are for a node port, too.
		onNodePort: {nft.DestinationType(), nft.Equals(native(unix.RTN_LOCAL))},
	} {
		v := viewOf(c.list)
		load := func(reg int) []nft.Expr { return d.port(where(at), v, reg) }
		out = append(out, d.choose(c, gate, d.plainPort(where(at), v), load)...)
	}
	return out
}

// choose sends the packet to an endpoint of the port whose key plain loads into the
// first registers, and load into any.
func (d *dnat) choose(c portChain, gate, plain []nft.Expr, load func(reg int) []nft.Expr) (out []nft.Rule) {
	if c.timeout > 0 {
		return d.sticky(c, gate, load)
	}
	for _, n := range slices.Compact([]uint32{c.n, 1}) {
		out = append(out, d.rule("", gate, plain, one(nft.Random(d.keyWords(), n),
			nft.DataOf(d.endpoints[c.list], 0, 0), d.TranslateDestination(0))))
	}
	return out
}

// want: the frontend with the port's key leads to the endpoints itself, the others through
// ports. Node ports always use ports, because no other map has an address for them.
func (d *dnat) want(f *model.Frontend) (w wantedFrontend) {
	home := f.Home()
	if home != f.Key && !follows(f) {
		home = f.Key
	}
	for v, b := range f.Views() {
		switch b.Verdict {
		case model.Drop:
			w.views[v].verdict.kind = drop
			continue
		case model.Forward:
		default:
			w.views[v].verdict.kind = refuse
			continue
		}
		m, _ := masqueradeOf(b.Masquerade)
		u := use{list: listKey{home, listOf(v)}, shared: true, endpoints: b.Endpoints, timeout: max(f.AffinityTimeoutSeconds, 0)}
		if u.timeout > 0 {
			u.group = affinityGroup(f.Service.Namespace)
		}
		if home == f.Key && !f.Key.IsNodePort() {
			u.shared = false
			if f.Home() == f.Key {
				u.list.list = map[bool]list{false: clusterList, true: localList}[b.Local]
			}
			w.views[v].verdict = forwardTo(portChain{own, u.list.list, m, uint32(len(b.Endpoints)), u.timeout, u.group})
		} else {
			w.views[v].port = port{home, m}
		}
		w.uses[v] = u
	}
	return w
}

// follows says whether a frontend uses the lists that ports stands for. All frontends from
// package rules do; any other has its own endpoints.
func follows(f *model.Frontend) bool {
	for v, b := range f.Views() {
		if b.Verdict == model.Forward && b.Local != (v == external) {
			return false
		}
	}
	return true
}

func (d *dnat) uses(key model.FrontendKey, h heldFrontend) (out [views]use) {
	for v, held := range h.views {
		switch {
		case held.port.isSet():
			out[v] = use{list: listKey{held.port.home, listOf(view(v))}, shared: true}
		case held.verdict.kind == forward && held.verdict.chain.role == own:
			out[v] = use{list: listKey{key, held.verdict.chain.list}}
		}
	}
	return out
}

// put changes the content of ports for a frontend. If the frontend stays, its element is
// deleted later: a packet that has just missed the old verdict still finds the frontend.
func (d *dnat) put(p *planner, key model.FrontendKey, old, now heldFrontend, stays bool) {
	for v := range views {
		was, is := old.views[v].port, now.views[v].port
		if was == is {
			continue
		}
		var buf, value [64]byte
		element := appendKey(buf[:0], key)
		switch {
		case was.isSet() && !is.isSet() && stays:
			p.later.Delete(d.ports[v]).Key(element)
		case was.isSet():
			p.batch.Delete(d.ports[v]).Key(element)
		}
		if is.isSet() {
			p.batch.Add(d.ports[v]).Data(element, append(appendKey(value[:0], is.home), native(uint32(is.masquerade))...))
		}
	}
}

// growList adds and replaces endpoints of a port, and then the verdict that leads to them.
func (d *dnat) growList(p *planner, key listKey, old, now heldList) {
	var buf, affine [64]byte
	element, l := appendKey(buf[:0], key.home), key.list
	for e := range without(now.affine, old.affine) {
		p.batch.Add(d.affine[l]).Key(appendAffine(affine[:0], key.home, e))
		p.batch.mayEnd()
	}
	d.growEndpoints(p.batch, d.endpoints[l], element, nil, old.endpoints, now.endpoints)
	d.growEndpoints(p.batch, d.choices[l], element, appendProtocol(nil, key.home.Protocol), old.choices, now.choices)
	if now.spread.kind != absent {
		putVerdict(p.batch.Batch, d.spread[l], element, old.spread, now.spread)
		p.batch.mayEnd()
	}
}

// growEndpoints makes the elements of a port's endpoints hold the wanted ones. The prefix
// precedes each value.
func (d *dnat) growEndpoints(b *parts, s *nft.Set, key, prefix []byte, old, now []model.Endpoint) {
	var buf [24]byte
	for i, is := range now {
		var was model.Endpoint
		if i < len(old) {
			was = old[i]
		}
		if was == is {
			continue
		}
		element := appendIndex(key, i)
		if was.IsValid() {
			b.Delete(s).Key(element)
		}
		b.Add(s).Data(element, appendEndpoint(append(buf[:0], prefix...), is))
		b.mayEnd()
	}
}

// shrinkList deletes endpoints of a port. If former users of the list lead elsewhere now,
// the verdict that led them to it is deleted later, and so are the endpoints if there are
// none left.
func (d *dnat) shrinkList(p *planner, key listKey, old, now heldList, moved bool) {
	var buf, affine [64]byte
	element, l := appendKey(buf[:0], key.home), key.list
	from := func(list []model.Endpoint) *parts {
		if moved && len(list) == 0 {
			return p.later
		}
		return p.batch
	}
	if now.spread.kind == absent {
		b := from(nil)
		putVerdict(b.Batch, d.spread[l], element, old.spread, now.spread)
		b.mayEnd()
	}
	shrinkEndpoints(from(now.endpoints), d.endpoints[l], element, old.endpoints, len(now.endpoints))
	shrinkEndpoints(from(now.choices), d.choices[l], element, old.choices, len(now.choices))
	for e := range without(old.affine, now.affine) {
		from(now.affine).Delete(d.affine[l]).Key(appendAffine(affine[:0], key.home, e))
		from(now.affine).mayEnd()
	}
}

// shrinkEndpoints deletes the elements of a port's endpoints from a number on.
func shrinkEndpoints(b *parts, s *nft.Set, key []byte, old []model.Endpoint, n int) {
	for i := n; i < len(old); i++ {
		if old[i].IsValid() {
			b.Delete(s).Key(appendIndex(key, i))
			b.mayEnd()
		}
	}
}

// without yields the endpoints that are not in another list; both are sorted.
func without(list, other []model.Endpoint) iter.Seq[model.Endpoint] {
	return func(yield func(model.Endpoint) bool) {
		if slices.Equal(list, other) {
			return
		}
		for _, e := range list {
			if _, found := slices.BinarySearchFunc(other, e, netip.AddrPort.Compare); !found && !yield(e) {
				return
			}
		}
	}
}
