// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"hash/fnv"
	"math/bits"
	"slices"
)

// EndpointsEach returns how many endpoints each port of a Service may have, if all of them
// together may have a number. It changes only when the number of ports passes a power of
// two, so that one more port rarely concerns the others.
func EndpointsEach(together, ports int) int {
	return max(1, together>>bits.Len(uint(max(0, ports-1))))
}

// Subset returns n of the endpoints, which are sorted, in their order. The seed and the
// address of an endpoint decide whether it is one of them: nodes with other seeds choose
// others, all ports of a Service choose the same addresses, and one changed endpoint changes
// at most one of the choice (rendezvous hashing).
func Subset(endpoints []Endpoint, n int, seed string) []Endpoint {
	if len(endpoints) <= n {
		return endpoints
	}
	type ranked struct {
		endpoint Endpoint
		rank     uint64
	}
	all := make([]ranked, len(endpoints))
	for i, e := range endpoints {
		all[i] = ranked{e, rank(e, seed)}
	}
	slices.SortFunc(all, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.rank, b.rank), a.endpoint.Compare(b.endpoint)) })
	out := make([]Endpoint, n)
	for i := range out {
		out[i] = all[i].endpoint
	}
	slices.SortFunc(out, Endpoint.Compare)
	return out
}

// rank is the same in every process.
func rank(e Endpoint, seed string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(seed)) // never fails
	_, _ = h.Write(e.Addr().AsSlice())
	// The last byte alone hardly changes the first bits of FNV: mix them.
	x := h.Sum64()
	x = (x ^ x>>32) * 0x9e3779b97f4a7c15
	return x ^ x>>29
}
