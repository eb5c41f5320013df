// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// Clients stick to an endpoint by a map to which the kernel itself adds:
//
//	affinity            { protocol . address . port . client : protocol . endpoint }    times out
//	affinity-choices    { protocol . address . port . number : protocol . endpoint }
//	affinity-endpoints  { address . port . protocol . endpoint }
//
// Address and port are those of the port's key, the cluster IP's, so that node port and
// load balancer lead a client to the same endpoint. Choices are the endpoints that a new
// client can get, in place of the map endpoints. affinity-endpoints holds the ones that
// a frontend may lead to now: what is remembered but not there is forgotten, so a client
// of an endpoint that is gone, or that the policy excludes here, moves at once.
//
// What nft prints of these rules needs a word. nft cannot print a key that has
// been looked up in another map: it aborts. But it knows only of the first
// register that a lookup fills. So each looked up value begins with the protocol,
// which is then loaded once more from the packet, and the registers of the rest
// are loaded with the packet's destination before the lookup replaces it. nft
// prints `ip daddr . th dport` where really the remembered values are, or those of the
// port's key. For the same reason it prints nothing of the lookup itself.

// affinitySize is how many clients are remembered in each family, with some
// 40 MiB of the kernel's memory. A flood of made-up sources cannot take more;
// new clients are then balanced as if there was no affinity.
const affinitySize = 1 << 18

// sticky returns rules for a port with affinity, whose key load loads: lead a known
// client to its endpoint; else forget it, remember a choice, and lead the client there.
// The choice is looked up again because another processor may have been faster with
// a packet of the same client. A client that cannot be remembered goes to any.
func (d *dnat) sticky(c portChain, gate []nft.Expr, load func(reg int) []nft.Expr) []nft.Rule {
	w, data := d.Words(), d.affinityData()
	client := append(load(0), d.Source(d.keyWords()))
	found := slices.Concat(gate, client, d.remembered(d.affinity))
	// The port's address and port end where the remembered endpoint begins. In front
	// of them is the port's protocol, and behind what ports holds besides.
	leadTo := append(load(w), nft.Protocol(data), nft.In(d.affine[c.list], w+1), d.TranslateDestination(data+1))
	chosen := func(n uint32) []nft.Expr {
		return slices.Concat(gate, load(0), one(nft.Random(d.keyWords(), n)), d.remembered(d.choices[c.list]))
	}
	known := slices.Concat(found, one(nft.Refresh(d.affinity, 0, data, c.timeout)), leadTo)
	out := []nft.Rule{
		d.rule("a known client", known),
		d.rule("its endpoint is gone", found, one(nft.Forget(d.affinity, 0, data))),
		d.rule("a new client", chosen(c.n), client, one(nft.Learn(d.affinity, 0, data, c.timeout))),
		d.rule("", known),
	}
	for _, n := range slices.Compact([]uint32{c.n, 1}) {
		out = append(out, d.rule("", chosen(n), one(d.TranslateDestination(data+1))))
	}
	return out
}

// affinityData is the register where a looked up endpoint begins, with the
// protocol. The key of the map affinity ends there.
func (d *dnat) affinityData() int { return 2*d.Words() + 2 }

// remembered looks up an endpoint with the protocol before it, by the key in the first
// registers.
func (d *dnat) remembered(s *nft.Set) []nft.Expr {
	data := d.affinityData()
	return []nft.Expr{d.Destination(data + 1), nft.DestinationPort(data + 1 + d.Words()), nft.DataOf(s, 0, data), nft.Protocol(data)}
}
