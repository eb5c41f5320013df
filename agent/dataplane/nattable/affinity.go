// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// Session affinity uses maps to which the kernel itself adds elements:
//
//	affinity-<group>    { protocol . address . port . client : protocol . endpoint }    times out
//	affinity-choices    { protocol . address . port . number : protocol . endpoint }
//	affinity-endpoints  { address . port . protocol . endpoint }
//
// Address and port are those of the port's key, the cluster IP's, so that node port and
// load balancer send a client to the same endpoint. Choices are the endpoints that a new
// client can get, in place of the map endpoints. affinity-endpoints holds the endpoints
// that a frontend may use now: a remembered endpoint that is not in it is dropped, so a
// client whose endpoint is gone, or excluded here by the policy, moves at once.
//
// A note on what nft prints of these rules. nft aborts on a key that was looked up in
// another map. But it knows only the first register that a lookup fills. So each looked up
// value begins with the protocol, which is then loaded once more from the packet, and the
// registers of the rest are loaded with the packet's destination before the lookup
// replaces it. nft prints `ip daddr . th dport` for the remembered values, or those of the
// port's key. For the same reason it prints nothing of the lookup itself.

// The clients of a namespace's Services are in one of affinityGroups maps. So a flood of
// sources at a Service, or spoofed ones, fills one map: then new clients of these namespaces are balanced
// as without affinity, and those of all others are remembered. A map for each Service
// would be exact, but the kernel searches the sets of a table one by one, and policy
// ClientIP gives every Service affinity.
//
// affinitySize is the maximum number of clients in each map, which takes about 10 MiB of
// kernel memory when it is full. It is that of kube-proxy for each endpoint.
const (
	affinityGroups = 16
	affinitySize   = 1 << 16
)

// affinityGroup returns the map of a namespace.
func affinityGroup(namespace string) uint8 {
	return uint8(crc32.ChecksumIEEE([]byte(namespace)) % affinityGroups)
}

// affinityName returns for example "affinity" and "affinity-15".
func affinityName(group uint8) string {
	if group == 0 {
		return "affinity"
	}
	return fmt.Sprint("affinity-", group)
}

// sticky returns rules for a port with affinity, whose key load loads: send a known client
// to its endpoint; otherwise delete its element, remember a choice, and send the client
// there. The choice is looked up again because another CPU may have been faster with a
// packet of the same client. A client that cannot be remembered goes to any endpoint.
func (d *dnat) sticky(c portChain, gate []nft.Expr, load func(reg int) []nft.Expr) []nft.Rule {
	w, data, clients := d.Words(), d.affinityData(), d.affinity[c.group]
	client := append(load(0), d.Source(d.keyWords()))
	found := slices.Concat(gate, client, d.remembered(clients))
	// The port's address and port end where the remembered endpoint begins. Before them is
	// the port's protocol, and after them the rest of the value of ports.
	leadTo := append(load(w), nft.Protocol(data), nft.In(d.affine[c.list], w+1), d.TranslateDestination(data+1))
	chosen := func(n uint32) []nft.Expr {
		return slices.Concat(gate, load(0), one(nft.Random(d.keyWords(), n)), d.remembered(d.choices[c.list]))
	}
	known := slices.Concat(found, one(nft.Refresh(clients, 0, data, c.timeout)), leadTo)
	out := []nft.Rule{
		d.rule("a known client", known),
		d.rule("its endpoint is gone", found, one(nft.Forget(clients, 0, data))),
		d.rule("a new client", chosen(c.n), client, one(nft.Learn(clients, 0, data, c.timeout))),
		d.rule("", known),
	}
	for _, n := range slices.Compact([]uint32{c.n, 1}) {
		out = append(out, d.rule("", chosen(n), one(d.TranslateDestination(data+1))))
	}
	return out
}

// affinityData is the register where a looked up endpoint begins, with the protocol. The
// key of the map affinity ends there.
func (d *dnat) affinityData() int { return 2*d.Words() + 2 }

// remembered looks up an endpoint with the protocol before it, by the key in the first
// registers.
func (d *dnat) remembered(s *nft.Set) []nft.Expr {
	data := d.affinityData()
	return []nft.Expr{d.Destination(data + 1), nft.DestinationPort(data + 1 + d.Words()), nft.DataOf(s, 0, data), nft.Protocol(data)}
}
