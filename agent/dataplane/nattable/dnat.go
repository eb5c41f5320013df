// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
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
	affinity        *nft.Set
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
	d.affinity = l.addSet(nft.SetSpec{Name: "affinity", Dynamic: affinitySize, Key: append(slices.Clone(key), l.SourceField()), Data: key})
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
	for v, b := range viewed(f) {
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
		if home == f.Key && !f.Key.IsNodePort() {
			u.shared = false
			if f.Home() == f.Key {
				u.list.list = map[bool]list{false: clusterList, true: localList}[b.Local]
			}
			w.views[v].verdict = forwardTo(portChain{own, u.list.list, m, uint32(len(b.Endpoints)), u.timeout})
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
	for v, b := range viewed(f) {
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

// putList changes the endpoints of a port. Endpoints of a list that is no longer used are
// deleted later if its former users lead elsewhere now.
func (d *dnat) putList(p *planner, key listKey, old, now heldList, moved bool) {
	var buf [64]byte
	element, l := appendKey(buf[:0], key.home), key.list
	putVerdict(p.batch, d.spread[l], element, old.spread, now.spread)
	d.moveEndpoints(p, d.endpoints[l], element, nil, old.endpoints, now.endpoints, moved)
	d.moveEndpoints(p, d.choices[l], element, appendProtocol(nil, key.home.Protocol), old.choices, now.choices, moved)
	d.moveAffine(p, d.affine[l], key.home, old.affine, now.affine, moved)
}

// moveEndpoints changes the elements of a port's endpoints from old to now. The prefix
// precedes each value.
func (d *dnat) moveEndpoints(p *planner, s *nft.Set, key, prefix []byte, old, now []model.Endpoint, moved bool) {
	var buf [24]byte
	batch := p.batch
	if moved && len(now) == 0 {
		batch = p.later
	}
	for i := range max(len(old), len(now)) {
		var was, is model.Endpoint
		if i < len(old) {
			was = old[i]
		}
		if i < len(now) {
			is = now[i]
		}
		if was == is {
			continue
		}
		element := appendIndex(key, i)
		if was.IsValid() {
			batch.Delete(s).Key(element)
		}
		if is.IsValid() {
			batch.Add(s).Data(element, appendEndpoint(append(buf[:0], prefix...), is))
		}
	}
}

// moveAffine changes the endpoints that known clients can be sent to; both are sorted.
func (d *dnat) moveAffine(p *planner, s *nft.Set, home model.FrontendKey, old, now []model.Endpoint, moved bool) {
	if slices.Equal(old, now) {
		return
	}
	batch := p.batch
	if moved && len(now) == 0 {
		batch = p.later
	}
	var buf [64]byte
	for _, e := range old {
		if _, found := slices.BinarySearchFunc(now, e, netip.AddrPort.Compare); !found {
			batch.Delete(s).Key(appendAffine(buf[:0], home, e))
		}
	}
	for _, e := range now {
		if _, found := slices.BinarySearchFunc(old, e, netip.AddrPort.Compare); !found {
			batch.Add(s).Key(appendAffine(buf[:0], home, e))
		}
	}
}
