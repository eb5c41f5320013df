// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Limits of a part. A part holds about partEndpoints endpoints at most (the hash spreads
// them, so some hold a little more). Parts are merged only well below that, so that a
// number of endpoints that varies around the limit does not rewrite all parts at every
// change.
const (
	partEndpoints      = 200
	partMergeEndpoints = 80
	maxParts           = 1 << 16

	// partPorts is the number of ports up to which a part holds partEndpoints. With more
	// ports an endpoint is larger and counts as several: the apiserver accepts 1.5 MiB.
	partPorts = 125
)

// endpointKey is what endpoints must have in common to share an entry.
type endpointKey struct {
	addr         netip.Addr
	node         string
	state        v1alpha1.EndpointState
	nodes, zones string
}

// endpointMerger joins the endpoints of a Service's ports: an address that
// serves all ports in the same state is one entry.
type endpointMerger struct {
	ports   int
	entries []v1alpha1.RuleEndpoint
	addrs   []netip.Addr
	byKey   map[endpointKey][]int
}

func (m *endpointMerger) add(port int, c candidate) {
	key := endpointKey{c.addr, c.node, c.state, strings.Join(c.nodes, ","), strings.Join(c.zones, ",")}
	for _, i := range m.byKey[key] {
		// The same address may serve one port under two numbers for a while.
		if m.entries[i].TargetPorts[port] == 0 {
			m.entries[i].TargetPorts[port] = c.port
			return
		}
	}
	e := v1alpha1.RuleEndpoint{
		Address:     c.addr.String(),
		TargetPorts: make([]int32, m.ports),
		NodeName:    c.node,
		ForNodes:    c.nodes,
		ForZones:    c.zones,
	}
	if c.state != v1alpha1.EndpointReady {
		e.State = c.state
	}
	e.TargetPorts[port] = c.port
	m.byKey[key] = append(m.byKey[key], len(m.entries))
	m.entries = append(m.entries, e)
	m.addrs = append(m.addrs, c.addr)
}

func (m *endpointMerger) sorted() []v1alpha1.RuleEndpoint {
	order := make([]int, len(m.entries))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := &m.entries[i], &m.entries[j]
		return cmp.Or(m.addrs[i].Compare(m.addrs[j]), cmp.Compare(a.NodeName, b.NodeName),
			cmp.Compare(a.State, b.State), slices.Compare(a.TargetPorts, b.TargetPorts),
			slices.Compare(a.ForNodes, b.ForNodes), slices.Compare(a.ForZones, b.ForZones))
	})
	out := make([]v1alpha1.RuleEndpoint, len(order))
	for i, from := range order {
		out[i] = m.entries[from]
	}
	return out
}

// split makes the parts of a Service's rules. current is the number of parts that exist, 0
// if there are none.
func split(header v1alpha1.ServiceRuleSliceSpec, endpoints []v1alpha1.RuleEndpoint, current int32) []Slice {
	parts := partCount(len(endpoints)*max(1, (len(header.Ports)+partPorts-1)/partPorts), current)
	out := make([]Slice, parts)
	for i := range out {
		spec := header
		spec.Part, spec.Parts = int32(i), parts
		out[i] = Slice{Name: model.SliceNameOf(&spec), Spec: spec}
	}
	for _, e := range endpoints {
		spec := &out[partOf(e.Address, parts)].Spec
		spec.Endpoints = append(spec.Endpoints, e)
	}
	for i := range out {
		out[i].Spec.Digest = model.Digest(out[i].Spec)
	}
	return out
}

// partCount returns the number of parts for n endpoints, a power of two. current is the
// number of parts that exist, 0 if there are none.
func partCount(n int, current int32) int32 {
	parts := int32(1)
	if current > 1 && current <= maxParts && current&(current-1) == 0 {
		parts = current
		for parts > 1 && n < partMergeEndpoints*int(parts) {
			parts /= 2
		}
	}
	for n > partEndpoints*int(parts) && parts < maxParts {
		parts *= 2
	}
	return parts
}

// partOf is the part of an address: the top bits of its hash, so that doubling
// the parts splits each of them in two.
func partOf(address string, parts int32) int32 {
	h := fnv.New64a()
	h.Write([]byte(address))
	// FNV's top bits hardly depend on the last characters, in which the
	// addresses of a cluster differ: mix them (the finaliser of MurmurHash3).
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return int32(x >> 48 * uint64(parts) >> 16)
}
