// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

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

const (
	dynsetDelete = 2 // NFT_DYNSET_OP_DELETE

	// affinitySize is how many clients are remembered in each family, with some
	// 40 MiB of the kernel's memory. A flood of made-up sources cannot take more;
	// new clients are then balanced as if there was no affinity.
	affinitySize = 1 << 18
)

// addAffinitySets adds the sets and maps above to the layout.
func (t *table) addAffinitySets() {
	padded := append([]field{protocol()}, t.endpointFields()...)
	t.affinity = t.addSet(setSpec{name: "affinity", dynamic: affinitySize,
		key: append(slices.Clone(padded), t.saddr()), data: padded})
	for at, prefix := range [wheres]string{onAddress: "", onNodePort: "nodeport-"} {
		portKey, endpointKey := padded, []field{t.daddr(), port()}
		if where(at) == onNodePort {
			portKey, endpointKey = []field{port(), protocol()}, []field{port()}
		}
		t.affinityPorts[at] = t.addSet(setSpec{name: prefix + "affinity-ports", key: portKey, data: padded})
		for v, suffix := range [views]string{internal: "", external: "-external"} {
			t.choices[at][v] = t.addSet(setSpec{name: prefix + "affinity-choices" + suffix,
				key: t.keyFields(where(at) == onAddress, true), data: padded})
			t.affine[at][v] = t.addSet(setSpec{name: prefix + "affinity-endpoints" + suffix,
				key: append(slices.Clone(endpointKey), padded...), data: t.endpointFields()})
		}
	}
}

// sticky returns the rules of a chain with affinity: lead a known client to its
// endpoint; else forget it, remember a choice, and lead the client there. The
// choice is looked up again because another processor may have been faster with
// a packet of the same client. A client that cannot be remembered goes on with
// the rules that follow.
func (t *table) sticky(c serviceChain) []rule {
	data := t.affinityData()
	key, next := t.chainKey(c.at)
	known := slices.Concat(t.affinityKey(c.at), t.remembered(t.affinity, 0),
		[]any{learn{t.affinity, unix.NFT_DYNSET_OP_UPDATE, 0, data, c.timeout}}, t.leadTo(c))
	forget := slices.Concat(t.affinityKey(c.at), t.remembered(t.affinity, 0),
		[]any{learn{set: t.affinity, op: dynsetDelete, data: data}})
	remember := slices.Concat(key,
		[]any{&expr.Numgen{Register: register(next), Modulus: c.n, Type: unix.NFT_NG_RANDOM}},
		t.remembered(t.choices[c.at][c.view], 0), t.affinityKey(c.at),
		[]any{learn{t.affinity, unix.NFT_DYNSET_OP_ADD, 0, data, c.timeout}})
	return []rule{
		t.rule("a known client", known...),
		t.rule("its endpoint is gone", forget...),
		t.rule("a new client", remember...),
		t.rule("", known...),
	}
}

// affinityData is the register where a looked up endpoint begins, with the
// protocol. The key of the map affinity ends there.
func (t *table) affinityData() int { return 2*t.words() + 2 }

// affinityKey loads the key of the map affinity: the Service's port and the source.
func (t *table) affinityKey(at where) []any {
	w := t.words()
	out, start := append(t.destination(1), t.protocol(0)), 0
	if at == onNodePort {
		start = w + 1 // where the port is already
		out = append(out, t.protocol(w+2))
	}
	return append(out, t.dataFor(t.affinityPorts[at], start, 0), t.protocol(0), t.addr(src, w+2))
}

// remembered looks an endpoint up, with the protocol before it.
func (t *table) remembered(s *set, key int) []any {
	data := t.affinityData()
	return append(t.destination(data+1), t.dataFor(s, key, data), t.protocol(data))
}

// leadTo translates to the endpoint that was looked up, if the frontend may still
// lead there.
func (t *table) leadTo(c serviceChain) []any {
	start := t.affinityData() - 1
	out := []any{t.dport(start)}
	if c.at == onAddress {
		start -= t.words()
		out = t.destination(start)
	}
	return append(out, t.dataFor(t.affine[c.at][c.view], start, 0), t.translate())
}

// destination loads address and port of the packet's destination.
func (t *table) destination(reg int) []any {
	return []any{t.addr(dst, reg), t.dport(reg + t.words())}
}

// updateAffinityPort changes under which address and port the clients of a
// frontend are remembered, and returns it; invalid: they are not.
func (t *table) updateAffinityPort(b *batch, key model.FrontendKey, old model.Endpoint, f *model.Frontend) model.Endpoint {
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
		b.from(s).plain(element)
	}
	if now.IsValid() {
		b.to(s).value(element, appendEndpoint(appendProtocol(nil, key.Protocol), now))
	}
	return now
}

// updateAffinity changes a frontend's endpoints for affinity into those of now,
// if its chain has affinity.
func (t *table) updateAffinity(b *batch, key model.FrontendKey, v view, old heldView, now *heldView, want []model.Endpoint) {
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
			b.from(s).plain(appendAffine(buf[:0], key, e))
		}
	}
	for _, e := range now.affine {
		if _, found := slices.BinarySearchFunc(old.affine, e, model.Endpoint.Compare); !found {
			b.to(s).value(appendAffine(buf[:0], key, e), appendEndpoint(nil, e))
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
