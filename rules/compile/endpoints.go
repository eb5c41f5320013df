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

// candidate is an endpoint of one port of a Service, before decide says what it is used
// for.
type candidate struct {
	addr        netip.Addr
	port        int32
	node        string
	ready       bool
	terminating bool // terminating and still serving
	going       bool // terminating, serving or not
	nodes       []string
	zones       []string
	state       v1alpha1.EndpointState
}

// compileEndpoints returns the endpoints of a Service in one family, sorted.
// header.Ports are the ports that an endpoint's targetPorts stand for.
func compileEndpoints(in Input, header *v1alpha1.ServiceRuleSliceSpec, problems *problemList) []v1alpha1.RuleEndpoint {
	slicesOfFamily := usableSlices(in, header.AddressFamily)
	merged := &endpointMerger{ports: len(header.Ports), byKey: map[endpointKey][]int{}}
	for i, port := range header.Ports {
		candidates := candidatesOf(slicesOfFamily, port, header.AddressFamily, problems)
		for _, c := range keep(header, port, candidates) {
			merged.add(i, c)
		}
	}
	return merged.sorted()
}

// keep returns the candidates of a port that some node needs to know.
func keep(header *v1alpha1.ServiceRuleSliceSpec, port v1alpha1.RulePort, candidates []candidate) []candidate {
	external := port.NodePort != 0 || len(header.ExternalIPs) > 0 || len(header.LoadBalancerIPs) > 0
	internalLocal := header.InternalTrafficPolicy == v1alpha1.TrafficPolicyLocal
	usesCluster := !internalLocal || external
	usesLocal := internalLocal || external && header.ExternalTrafficPolicy == v1alpha1.TrafficPolicyLocal
	return slices.DeleteFunc(decide(candidates, usesCluster, usesLocal), func(c candidate) bool {
		return c.state == v1alpha1.EndpointDraining && port.Protocol != corev1.ProtocolUDP
	})
}

// usableSlices returns the EndpointSlices that belong to the Service, in an order that
// does not depend on the order of the input.
func usableSlices(in Input, family corev1.IPFamily) []*discoveryv1.EndpointSlice {
	var usable []*discoveryv1.EndpointSlice
	for _, s := range in.EndpointSlices {
		_, headless := s.Labels[corev1.IsHeadlessService]
		if s.Namespace == in.Service.Namespace && s.Labels[discoveryv1.LabelServiceName] == in.Service.Name &&
			!headless && string(s.AddressType) == string(family) {
			usable = append(usable, s)
		}
	}
	slices.SortFunc(usable, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	return usable
}

// candidatesOf returns the endpoints that serve a port. EndpointSlices are
// joined to a port by name and protocol only, never by number.
func candidatesOf(in []*discoveryv1.EndpointSlice, port v1alpha1.RulePort, family corev1.IPFamily, problems *problemList) []candidate {
	best := map[netip.AddrPort]candidate{}
	for _, slice := range in {
		for _, p := range slice.Ports {
			if !is(p, port) {
				continue
			}
			if p.Port == nil || !model.ValidPort(*p.Port) {
				problems.add("EndpointSlice", slice.Namespace, slice.Name,
					"port %q skipped: its number must be within 1-65535 (an absent number, meaning all ports, is not supported)", *p.Name)
				continue
			}
			for i := range slice.Endpoints {
				c, ok := newCandidate(slice, &slice.Endpoints[i], family, problems)
				if !ok {
					continue
				}
				c.port = *p.Port
				key := c.address()
				if other, twice := best[key]; !twice || c.before(other) {
					best[key] = c
				}
			}
		}
	}
	out := make([]candidate, 0, len(best))
	for _, c := range best {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b candidate) int {
		return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.port, b.port))
	})
	return out
}

func protocolName(p *corev1.Protocol) corev1.Protocol {
	if p == nil || *p == "" {
		return corev1.ProtocolTCP
	}
	return *p
}

func newCandidate(slice *discoveryv1.EndpointSlice, e *discoveryv1.Endpoint, family corev1.IPFamily, problems *problemList) (candidate, bool) {
	if len(e.Addresses) == 0 {
		return candidate{}, false
	}
	// Only the first address counts: the API calls the others fungible, and
	// kube-proxy never used them.
	addr, err := model.ParseAddr(e.Addresses[0])
	if err == nil {
		err = model.ValidateEndpointAddress(addr)
	}
	if err != nil {
		problems.add("EndpointSlice", slice.Namespace, slice.Name, "endpoint skipped: %v", err)
		return candidate{}, false
	}
	if model.FamilyOf(addr) != family {
		problems.add("EndpointSlice", slice.Namespace, slice.Name,
			"endpoint skipped: %s is no %s address; put it into a slice of its own addressType", addr, family)
		return candidate{}, false
	}
	yes := func(p *bool, absent bool) bool {
		if p == nil {
			return absent
		}
		return *p
	}
	serving := yes(e.Conditions.Serving, true)
	c := candidate{
		addr:  addr,
		ready: yes(e.Conditions.Ready, true),
		going: yes(e.Conditions.Terminating, false),
	}
	c.terminating = serving && c.going
	if e.NodeName != nil {
		c.node = *e.NodeName
	}
	if e.Hints != nil {
		for _, z := range e.Hints.ForZones {
			c.zones = append(c.zones, z.Name)
		}
		for _, n := range e.Hints.ForNodes {
			c.nodes = append(c.nodes, n.Name)
		}
		slices.Sort(c.zones)
		slices.Sort(c.nodes)
	}
	return c, true
}

// before decides between two entries with the same address and port. An entry that is not
// terminating comes first (one slice may lag behind another while a Pod is replaced), then
// a ready one, then a serving one. Ties are broken by node and hints, so the result is
// always the same.
func (c candidate) before(o candidate) bool {
	rank := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return cmp.Or(
		rank(c.going)-rank(o.going),
		rank(o.ready)-rank(c.ready),
		rank(o.terminating)-rank(c.terminating),
		cmp.Compare(c.node, o.node),
		slices.Compare(c.zones, o.zones),
		slices.Compare(c.nodes, o.nodes),
	) < 0
}

// decide picks the endpoints that are used or still serve, and sets their state (KEP-1669
// for the terminating ones). Hints count only if all ready endpoints have them (KEP-2433,
// KEP-3015), so that a node may trust each hint it sees.
func decide(candidates []candidate, usesCluster, usesLocal bool) []candidate {
	anyReady, nodeHints, zoneHints := false, usesCluster, usesCluster
	readyOn := map[string]bool{}
	for _, c := range candidates {
		if c.ready {
			anyReady = true
			readyOn[c.node] = true
			nodeHints = nodeHints && len(c.nodes) > 0
			zoneHints = zoneHints && len(c.zones) > 0
		}
	}
	var used []candidate
	for _, c := range candidates {
		switch {
		case c.ready:
			c.state = v1alpha1.EndpointReady
			if !nodeHints {
				c.nodes = nil
			}
			if !zoneHints {
				c.zones = nil
			}
		case c.terminating && !anyReady:
			c.state = v1alpha1.EndpointTerminating
			c.nodes, c.zones = nil, nil
		case c.terminating && usesLocal && c.node != "" && !readyOn[c.node]:
			c.state = v1alpha1.EndpointTerminatingLocal
			c.nodes, c.zones = nil, nil
		case c.terminating:
			c.state = v1alpha1.EndpointDraining
			c.nodes, c.zones = nil, nil
		default:
			continue
		}
		used = append(used, c)
	}
	return used
}
