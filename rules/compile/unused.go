// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Unused is an endpoint that no node uses for a port of its Service.
type Unused struct {
	Address    netip.Addr
	TargetPort int32 // 0 with UnusedPortMissing
	NodeName   string
	Reason     model.UnusedReason
}

// UnusedEndpoints returns the endpoints that Service leaves out of the slices of one family for
// one of their ports, sorted. Malformed ones are not among them: these are Problems.
func UnusedEndpoints(in Input, family corev1.IPFamily, port v1alpha1.RulePort) []Unused {
	none := &problemList{}
	header := compileHeader(in, family, none)
	candidates := candidatesOf(usableSlices(in, family), port, family, none)
	kept := map[netip.AddrPort]bool{}
	for _, c := range keep(&header, port, candidates) {
		kept[c.address()] = true
	}
	var out []Unused
	for _, c := range candidates {
		if !kept[c.address()] {
			out = append(out, Unused{c.addr, c.port, c.node, c.unused()})
		}
	}
	out = append(out, withoutPort(in, family, port, candidates)...)
	slices.SortFunc(out, func(a, b Unused) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.TargetPort, b.TargetPort))
	})
	return out
}

func (c candidate) address() netip.AddrPort { return netip.AddrPortFrom(c.addr, uint16(c.port)) }

// unused returns why a candidate is not kept.
func (c candidate) unused() model.UnusedReason {
	switch {
	case !c.going:
		return model.UnusedNotReady
	case !c.terminating:
		return model.UnusedNotServing
	}
	return model.UnusedTerminating
}

// withoutPort returns the endpoints of EndpointSlices that lack a port, unless another one has
// the same address with it: a Service may be in several slices with different ports.
func withoutPort(in Input, family corev1.IPFamily, port v1alpha1.RulePort, candidates []candidate) []Unused {
	seen := map[netip.Addr]bool{}
	for _, c := range candidates {
		seen[c.addr] = true
	}
	var out []Unused
	for _, slice := range usableSlices(in, family) {
		for i := range slice.Endpoints {
			c, ok := newCandidate(slice, &slice.Endpoints[i], family, &problemList{})
			if ok && !seen[c.addr] && !hasPort(slice, port) {
				seen[c.addr] = true
				out = append(out, Unused{Address: c.addr, NodeName: c.node, Reason: model.UnusedPortMissing})
			}
		}
	}
	return out
}

func hasPort(slice *discoveryv1.EndpointSlice, port v1alpha1.RulePort) bool {
	return slices.ContainsFunc(slice.Ports, func(p discoveryv1.EndpointPort) bool { return is(p, port) })
}

// is says whether a port of an EndpointSlice is one of a Service: by name and protocol, never by
// number.
func is(p discoveryv1.EndpointPort, port v1alpha1.RulePort) bool {
	return p.Name != nil && *p.Name == port.Name && protocolName(p.Protocol) == port.Protocol
}
