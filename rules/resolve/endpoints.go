// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// endpoint is an entry of a part. What does not depend on the port is decided once: a
// Service may have 100 ports.
type endpoint struct {
	*v1alpha1.RuleEndpoint
	part             int
	addr             netip.Addr
	malformed        error // the address
	mine             bool  // on this node
	forNode, forZone hint
}

// hint says whether traffic of this node is to use an endpoint.
type hint int

const (
	unhinted hint = iota
	hintedHere
	hintedElsewhere
)

// read returns the endpoints of all parts, sorted by address.
func (r *resolver) read() []endpoint {
	n := 0
	for _, part := range r.parts {
		n += len(part.Endpoints)
	}
	out := make([]endpoint, 0, n)
	for i, part := range r.parts {
		for j := range part.Endpoints {
			e := endpoint{RuleEndpoint: &part.Endpoints[j], part: i}
			e.addr, e.malformed = model.ParseAddr(e.Address)
			if e.malformed == nil {
				e.malformed = model.ValidateEndpointAddress(e.addr)
			}
			if e.malformed == nil && model.FamilyOf(e.addr) != r.header.AddressFamily {
				e.malformed = errFamilyOrPort
			}
			e.mine = e.NodeName != "" && e.NodeName == r.node.Name
			e.forNode, e.forZone = hintOf(e.ForNodes, r.node.Name), hintOf(e.ForZones, r.node.Spec.Node.Zone)
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b endpoint) int { return a.addr.Compare(b.addr) })
	return out
}

var errFamilyOrPort = errors.New("wrong family or port")

func hintOf(names []string, me string) hint {
	switch {
	case me == "" || len(names) == 0:
		return unhinted
	case slices.Contains(names, me):
		return hintedHere
	}
	return hintedElsewhere
}

// endpointSet is the endpoints that a policy leaves. empty is the verdict if there are
// none.
type endpointSet struct {
	endpoints []model.Endpoint
	empty     model.Verdict
	local     bool
	preferred preference
}

// preference is which hints choose among the endpoints that are ready.
type preference int

const (
	noPreference preference = iota
	sameNode
	sameZone
)

func (s endpointSet) backend(mask model.Masquerade) model.Backend {
	if len(s.endpoints) == 0 {
		return model.Backend{Verdict: s.empty}
	}
	return model.Backend{Verdict: model.Forward, Masquerade: mask, Endpoints: s.endpoints, Local: s.local}
}

// portEndpoint is an endpoint of one port.
type portEndpoint struct {
	*endpoint
	target uint16
}

// endpointsOf returns the endpoints of a port for cluster-wide traffic, those on
// this node, and all that serve.
func (r *resolver) endpointsOf(port int) (cluster, local endpointSet, all []portEndpoint) {
	indexes := r.indexesOf(port)
	ready := make([]portEndpoint, 0, len(r.endpoints))
	all = make([]portEndpoint, 0, len(r.endpoints))
	var fallback, localReady, localFallback []portEndpoint
	for i := range r.endpoints {
		e, ok := r.target(&r.endpoints[i], indexes)
		if !ok {
			continue
		}
		all = append(all, e)
		if e.mine {
			r.local[e.addr] = struct{}{}
		}
		switch e.State {
		case v1alpha1.EndpointReady, "":
			ready = append(ready, e)
			if e.mine {
				r.localReady[e.addr] = struct{}{}
				localReady = append(localReady, e)
			}
		case v1alpha1.EndpointTerminating:
			fallback = append(fallback, e)
			if e.mine {
				localFallback = append(localFallback, e)
			}
		case v1alpha1.EndpointTerminatingLocal:
			if e.mine {
				localFallback = append(localFallback, e)
			}
		}
	}
	if len(ready) > 0 {
		fallback, cluster.preferred = nearest(ready)
	}
	if len(localReady) > 0 {
		localFallback = localReady
	}
	cluster.endpoints, cluster.empty = addresses(fallback), model.Reject
	local = endpointSet{endpoints: addresses(localFallback), empty: model.Reject, local: true}
	if len(all) > 0 {
		// There are endpoints, but not here: drop the packet instead of rejecting it, so
		// that the load balancer, or the client on a retry, tries another node.
		local.empty = model.Drop
	}
	return cluster, local, all
}

// indexesOf returns the index of a port of the header in each part; negative: the part was
// written before the ports changed.
func (r *resolver) indexesOf(port int) []int {
	want := r.header.Ports[port]
	is := func(p v1alpha1.RulePort) bool {
		return p.Name == want.Name && p.Protocol == want.Protocol && p.Port == want.Port
	}
	indexes := make([]int, len(r.parts))
	for i, part := range r.parts {
		if indexes[i] = port; port >= len(part.Ports) || !is(part.Ports[port]) {
			indexes[i] = slices.IndexFunc(part.Ports, is)
		}
	}
	return indexes
}

// target returns an endpoint of a port, if it has that port.
func (r *resolver) target(e *endpoint, indexes []int) (portEndpoint, bool) {
	index := indexes[e.part]
	if index < 0 || index >= len(e.TargetPorts) || e.TargetPorts[index] == 0 {
		return portEndpoint{}, false
	}
	target, err := e.TargetPorts[index], e.malformed
	if err == nil && !model.ValidPort(target) {
		err = errFamilyOrPort
	}
	if err != nil {
		r.fail("endpoint %s:%d is malformed: %v", e.Address, target, err)
		return portEndpoint{}, false
	}
	return portEndpoint{e, uint16(target)}, true
}

// nearest filters ready endpoints by their hints: those for this node, else those for its
// zone, else all. One endpoint without a hint disables the hints; so does a node or zone
// that no hint names.
func nearest(ready []portEndpoint) ([]portEndpoint, preference) {
	if mine := hinted(ready, func(e portEndpoint) hint { return e.forNode }); mine != nil {
		return mine, sameNode
	}
	if mine := hinted(ready, func(e portEndpoint) hint { return e.forZone }); mine != nil {
		return mine, sameZone
	}
	return ready, noPreference
}

func hinted(ready []portEndpoint, hintOf func(portEndpoint) hint) []portEndpoint {
	var mine []portEndpoint
	for _, e := range ready {
		switch hintOf(e) {
		case unhinted:
			return nil
		case hintedHere:
			mine = append(mine, e)
		}
	}
	return mine
}

func (e portEndpoint) address() model.Endpoint { return netip.AddrPortFrom(e.addr, e.target) }

// addresses returns the distinct addresses and ports, sorted. The endpoints are sorted by
// address, but one address may have several ports.
func addresses(in []portEndpoint) []model.Endpoint {
	if len(in) == 0 {
		return nil
	}
	out := make([]model.Endpoint, len(in))
	for i, e := range in {
		out[i] = e.address()
	}
	if !slices.IsSortedFunc(out, model.Endpoint.Compare) {
		slices.SortFunc(out, model.Endpoint.Compare)
	}
	return slices.Compact(out)
}
