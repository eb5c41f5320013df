// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// TestEndpoints checks why a node does not use endpoints.
func TestEndpoints(t *testing.T) {
	type use struct{ Cluster, Local model.UnusedReason }
	const used, other, terminating = model.UnusedReason(""), model.UnusedOtherNode, model.UnusedTerminating
	hinted := func(s *SliceBuilder, nodes, zones []string) *SliceBuilder {
		return s.ForNodes(nodes...).ForZones(zones...)
	}
	cases := map[string]struct {
		service *ServiceBuilder
		slice   *SliceBuilder
		want    map[string]use
	}{
		"here and elsewhere": {
			Service("web").Port("", 80),
			Slice("web").Port("", 80).Ready("10.0.0.1", Here).Ready("10.0.0.2", There),
			map[string]use{"10.0.0.1": {used, used}, "10.0.0.2": {used, other}},
		},
		"one terminates here, one is ready here": {
			Service("web").Port("", 80).Protocol("UDP"),
			Slice("web").Port("", 80).Protocol("UDP").Ready("10.0.0.1", Here).Terminating("10.0.0.2", Here),
			map[string]use{"10.0.0.1": {used, used}, "10.0.0.2": {terminating, terminating}},
		},
		"the last one here terminates": {
			Service("web").Port("", 80).NodePort(3001).ExternalLocal(),
			Slice("web").Port("", 80).Terminating("10.0.0.1", Here).Ready("10.0.0.2", There),
			map[string]use{"10.0.0.1": {terminating, used}, "10.0.0.2": {used, other}},
		},
		"all terminate": {
			Service("web").Port("", 80),
			Slice("web").Port("", 80).Terminating("10.0.0.1", Here).Terminating("10.0.0.2", There),
			map[string]use{"10.0.0.1": {used, used}, "10.0.0.2": {used, other}},
		},
		"hints for nodes": {
			Service("web").Port("", 80),
			hinted(hinted(Slice("web").Port("", 80).Ready("10.0.0.1", There), []string{Here}, []string{"b"}).
				Ready("10.0.0.2", Here), []string{There}, []string{"a"}),
			map[string]use{"10.0.0.1": {used, other}, "10.0.0.2": {model.UnusedNodeHint, used}},
		},
		"hints for zones, as none is for the node": {
			Service("web").Port("", 80),
			hinted(hinted(Slice("web").Port("", 80).Ready("10.0.0.1", There), []string{There}, []string{"a"}).
				Ready("10.0.0.2", Here), []string{There}, []string{"b"}),
			map[string]use{"10.0.0.1": {used, other}, "10.0.0.2": {model.UnusedZoneHint, used}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			node, in := ThisNode().Zone("a").Node, Input(tc.service, tc.slice)
			id := model.ServiceID{Namespace: "default", Name: "web", Family: "IPv4"}
			got := map[string]use{}
			for _, port := range resolve.Endpoints(node, id, Specs(compile.Service(in), "IPv4")) {
				for _, e := range port.Endpoints {
					got[e.Endpoint.Addr().String()] = use{e.Cluster, e.Local}
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEndpointsProperties checks that the endpoints without a reason are those of the frontends,
// and that every valid endpoint of a Service is either known to the node or has a reason why not.
func TestEndpointsProperties(t *testing.T) {
	EverySeed(t, 500, func(t *testing.T, r *Random) {
		node, id, in := r.Node(), r.ID(), r.Input("web")
		slices := Specs(compile.Service(in), id.Family)
		result, _ := resolve.Service(node, id, slices)
		for _, port := range resolve.Endpoints(node, id, slices) {
			known := map[netip.Addr]bool{}
			used := map[bool][]model.Endpoint{}
			for _, e := range port.Endpoints {
				known[e.Endpoint.Addr()] = true
				if e.Cluster == "" {
					used[false] = append(used[false], e.Endpoint)
				}
				if e.Local == "" {
					used[true] = append(used[true], e.Endpoint)
				}
			}
			for _, f := range result.Frontends {
				if f.PortName != port.Port.Name {
					continue
				}
				for _, backend := range []model.Backend{f.Internal, f.External} {
					if diff := cmp.Diff(backend.Endpoints, used[backend.Local], ByValue); diff != "" && backend.Verdict == model.Forward {
						t.Errorf("%s, local %v (-frontend +endpoints):\n%s", f.Key, backend.Local, diff)
					}
				}
			}
			for _, e := range compile.UnusedEndpoints(in, id.Family, port.Port) {
				if e.Reason == model.UnusedPortMissing && known[e.Address] || e.Reason == "" {
					t.Errorf("%s has the port, and the reason %q", e.Address, e.Reason)
				}
			}
		}
	})
}
