// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"math/bits"
	"slices"
)

// EndpointsEach returns how many endpoints each port of a Service may have, if all of them
// together may have a number. It changes only when the number of ports passes a power of
// two, so that one more port rarely concerns the others.
func EndpointsEach(together, ports int) int {
	return max(1, together>>bits.Len(uint(max(0, ports-1))))
}

// RoundPorts rounds a number of ports up to a power of two, see Frontend.Ports.
func RoundPorts(ports int) int { return 1 << bits.Len(uint(max(0, ports-1))) }

// Subset returns n (at least one) of the endpoints, in their order. The seed and the address
// of an endpoint decide whether it is one of them: nodes with other seeds choose others, all
// ports of a Service choose the same addresses, and one changed endpoint changes at most one
// of the choice (rendezvous hashing).
func Subset(endpoints []Endpoint, n int, seed string) []Endpoint {
	if len(endpoints) <= n {
		return endpoints
	}
	ranks := make([]uint64, len(endpoints))
	for i, e := range endpoints {
		ranks[i] = rank(e, seed)
	}
	last := slices.Sorted(slices.Values(ranks))[n-1]
	out := make([]Endpoint, 0, n)
	for i, e := range endpoints {
		if ranks[i] <= last && len(out) < n {
			out = append(out, e)
		}
	}
	return out
}

// SubsetSeed differs between nodes that know their Pods by their own range. Others have the
// same seed, and use the same endpoints.
func (s NodeSettings) SubsetSeed() string { return fmt.Sprint(s.PodCIDRs) }

// rank is the same in every process: FNV-1a, whose first bits hardly depend on the last
// bytes before they are mixed.
func rank(e Endpoint, seed string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	x := uint64(offset)
	for _, b := range []byte(seed) {
		x = (x ^ uint64(b)) * prime
	}
	for _, b := range e.Addr().As16() {
		x = (x ^ uint64(b)) * prime
	}
	x = (x ^ x>>32) * 0x9e3779b97f4a7c15
	return x ^ x>>29
}
