// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Clients stick to an endpoint by a map to which the kernel itself adds:
//
//	affinity            { protocol . address . port . client : protocol . endpoint }    times out
//	affinity-ports      { protocol . address . port : protocol . address . port }
//	affinity-choices    { address . protocol . port . number : protocol . endpoint }
//	affinity-endpoints  { address . port . protocol . endpoint : endpoint }
//
// affinity-ports says for each frontend under which address and port its clients
// are remembered, the Service's cluster IP, so that its node port and its load
// balancer lead them to the same endpoint. Choices are the endpoints that
// a new client can get. affinity-endpoints holds the ones that a frontend may
// lead to now: what is remembered but not there is forgotten, so a client of an
// endpoint that is gone, or that its policy excludes here, moves at once.
//
// What nft prints of these rules needs a word. nft cannot print a key that has
// been looked up in another map: it aborts. But it knows only of the first
// register that a lookup fills. So each looked up value begins with the protocol,
// which is then loaded once more from the packet, and the registers of the rest
// are loaded with the packet's destination before the lookup replaces it. nft
// prints `ip daddr . th dport` where really the remembered values are.

// affinitySize is how many clients are remembered in each family, with some
// 40 MiB of the kernel's memory. A flood of made-up sources cannot take more;
// new clients are then balanced as if there was no affinity.
const affinitySize = 1 << 18

// addAffinitySets adds the sets and maps above to the layout.
func (t *table) addAffinitySets() {
	padded := append([]nft.Field{nft.ProtocolField()}, t.endpointFields()...)
	t.affinity = t.addSet(nft.SetSpec{Name: "affinity", Dynamic: affinitySize,
		Key: append(slices.Clone(padded), t.SourceField()), Data: padded})
	for at, prefix := range [wheres]string{onAddress: "", onNodePort: "nodeport-"} {
		portKey, endpointKey := padded, []nft.Field{t.DestinationField(), nft.PortField()}
		if where(at) == onNodePort {
			portKey, endpointKey = []nft.Field{nft.PortField(), nft.ProtocolField()}, []nft.Field{nft.PortField()}
		}
		t.affinityPorts[at] = t.addSet(nft.SetSpec{Name: prefix + "affinity-ports", Key: portKey, Data: padded})
		for v, suffix := range [views]string{internal: "", external: "-external"} {
			t.choices[at][v] = t.addSet(nft.SetSpec{Name: prefix + "affinity-choices" + suffix,
				Key: t.keyFields(where(at) == onAddress, true), Data: padded})
			t.affine[at][v] = t.addSet(nft.SetSpec{Name: prefix + "affinity-endpoints" + suffix,
				Key: append(slices.Clone(endpointKey), padded...), Data: t.endpointFields()})
		}
	}
}

// sticky returns the rules of a chain with affinity: lead a known client to its
// endpoint; else forget it, remember a choice, and lead the client there. The
// choice is looked up again because another processor may have been faster with
// a packet of the same client. A client that cannot be remembered goes on with
// the rules that follow.
func (t *table) sticky(c serviceChain) []nft.Rule {
	data := t.affinityData()
	key, next := t.chainKey(c.at)
	known := slices.Concat(t.affinityKey(c.at), t.remembered(t.affinity, 0),
		[]nft.Expr{nft.Refresh(t.affinity, 0, data, c.timeout)}, t.leadTo(c))
	forget := slices.Concat(t.affinityKey(c.at), t.remembered(t.affinity, 0),
		[]nft.Expr{nft.Forget(t.affinity, 0, data)})
	remember := slices.Concat(key,
		[]nft.Expr{nft.Random(next, c.n)},
		t.remembered(t.choices[c.at][c.view], 0), t.affinityKey(c.at),
		[]nft.Expr{nft.Learn(t.affinity, 0, data, c.timeout)})
	return []nft.Rule{
		t.NewRule("a known client", known...),
		t.NewRule("its endpoint is gone", forget...),
		t.NewRule("a new client", remember...),
		t.NewRule("", known...),
	}
}

// affinityData is the register where a looked up endpoint begins, with the
// protocol. The key of the map affinity ends there.
func (t *table) affinityData() int { return 2*t.Words() + 2 }

// affinityKey loads the key of the map affinity: the Service's port and the source.
func (t *table) affinityKey(at where) []nft.Expr {
	w := t.Words()
	out, start := append(t.destination(1), nft.Protocol(0)), 0
	if at == onNodePort {
		start = w + 1 // where the port is already
		out = append(out, nft.Protocol(w+2))
	}
	return append(out, nft.DataOf(t.affinityPorts[at], start, 0), nft.Protocol(0), t.Source(w+2))
}

// remembered looks an endpoint up, with the protocol before it.
func (t *table) remembered(s *nft.Set, key int) []nft.Expr {
	data := t.affinityData()
	return append(t.destination(data+1), nft.DataOf(s, key, data), nft.Protocol(data))
}

// leadTo translates to the endpoint that was looked up, if the frontend may still
// lead there.
func (t *table) leadTo(c serviceChain) []nft.Expr {
	start := t.affinityData() - 1
	out := []nft.Expr{nft.DestinationPort(start)}
	if c.at == onAddress {
		start -= t.Words()
		out = t.destination(start)
	}
	return append(out, nft.DataOf(t.affine[c.at][c.view], start, 0), t.TranslateDestination())
}

// destination loads address and port of the packet's destination.
func (t *table) destination(reg int) []nft.Expr {
	return []nft.Expr{t.Destination(reg), nft.DestinationPort(reg + t.Words())}
}

// updateAffinityPort changes under which address and port the clients of a
// frontend are remembered, and returns it; invalid: they are not.
func (t *table) updateAffinityPort(b *nft.Batch, key model.FrontendKey, old model.Endpoint, f *model.Frontend) model.Endpoint {
	var now model.Endpoint
	if f != nil && f.AffinityTimeoutSeconds > 0 {
		shared := f.Home()
		now = netip.AddrPortFrom(shared.Address, shared.Port)
	}
	if old == now {
		return now
	}
	var buf [64]byte
	element, s := appendPortKey(buf[:0], key), t.affinityPorts[whereOf(key)]
	if old.IsValid() {
		b.Delete(s).Key(element)
	}
	if now.IsValid() {
		b.Add(s).Data(element, appendEndpoint(appendProtocol(nil, key.Protocol), now))
	}
	return now
}

// updateAffinity changes a frontend's endpoints for affinity into those of now,
// if its chain has affinity.
func (t *table) updateAffinity(b *nft.Batch, key model.FrontendKey, v view, old heldView, now *heldView, want []model.Endpoint) {
	if now.target.chain.timeout == 0 {
		want = nil
	}
	at := whereOf(key)
	var buf [64]byte
	now.choices, now.affine = assign(old.choices, want), want
	t.moveEndpoints(b, t.choices[at][v], appendKey(buf[:0], key), appendProtocol(nil, key.Protocol), old.choices, now.choices)
	if slices.Equal(old.affine, want) {
		return
	}
	if !slices.IsSortedFunc(want, model.Endpoint.Compare) {
		now.affine = slices.SortedFunc(slices.Values(want), model.Endpoint.Compare)
	}
	s := t.affine[at][v]
	for _, e := range old.affine {
		if _, found := slices.BinarySearchFunc(now.affine, e, model.Endpoint.Compare); !found {
			b.Delete(s).Key(appendAffine(buf[:0], key, e))
		}
	}
	for _, e := range now.affine {
		if _, found := slices.BinarySearchFunc(old.affine, e, model.Endpoint.Compare); !found {
			b.Add(s).Data(appendAffine(buf[:0], key, e), appendEndpoint(nil, e))
		}
	}
}

// checkAffinity guards what would otherwise end in an element that matches nothing.
func (t *table) checkAffinity(f *model.Frontend) error {
	k := f.Home()
	if !t.ours(k.Address) || k.Protocol != f.Key.Protocol {
		return fmt.Errorf("%s of %s cannot share its clients with %s", f.Key, f.Service, k)
	}
	return nil
}
