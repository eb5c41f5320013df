// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"slices"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// EndpointUse is what a node uses an endpoint for.
type EndpointUse struct {
	Endpoint model.Endpoint
	NodeName string

	// Cluster is why the endpoint is not used for cluster-wide traffic, Local why not for
	// traffic with policy Local. See model.Backend.Local.
	Cluster, Local model.UnusedReason
}

// PortUse is what a node uses the endpoints of a port for.
type PortUse struct {
	Port      v1alpha1.RulePort
	Endpoints []EndpointUse // sorted by Endpoint
}

// Endpoints returns what a node uses each endpoint of a Service for. The endpoints without a
// reason are those of the backends that Service returns.
func Endpoints(node Node, id model.ServiceID, parts []*v1alpha1.ServiceRuleSliceSpec) []PortUse {
	r := newResolver(node, id, parts)
	if r == nil {
		return nil
	}
	out := make([]PortUse, len(r.header.Ports))
	for i, port := range r.header.Ports {
		cluster, local, all := r.endpointsOf(i)
		uses := make([]EndpointUse, 0, len(all))
		for _, e := range all {
			uses = append(uses, e.use(cluster, local))
		}
		slices.SortStableFunc(uses, func(a, b EndpointUse) int { return a.Endpoint.Compare(b.Endpoint) })
		uses = slices.CompactFunc(uses, func(a, b EndpointUse) bool { return a.Endpoint == b.Endpoint })
		out[i] = PortUse{Port: port, Endpoints: uses}
	}
	return out
}

func (e portEndpoint) use(cluster, local endpointSet) EndpointUse {
	use := EndpointUse{Endpoint: e.address(), NodeName: e.NodeName}
	if !cluster.has(use.Endpoint) {
		use.Cluster = e.passedOver(cluster.preferred)
	}
	if !local.has(use.Endpoint) {
		use.Local = model.UnusedOtherNode
		if e.mine {
			use.Local = model.UnusedTerminating // a ready endpoint of this node is always used
		}
	}
	return use
}

// passedOver returns why cluster-wide traffic does not use an endpoint.
func (e portEndpoint) passedOver(by preference) model.UnusedReason {
	switch {
	case e.State != v1alpha1.EndpointReady && e.State != "":
		return model.UnusedTerminating
	case by == sameNode:
		return model.UnusedNodeHint
	}
	return model.UnusedZoneHint
}

func (s endpointSet) has(e model.Endpoint) bool {
	_, found := slices.BinarySearchFunc(s.endpoints, e, model.Endpoint.Compare)
	return found
}
