// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// What kube-proxy decides for a node from the Service and its endpoints, in one
// step, as it was read from its source. compile and resolve decide the same in
// two steps, of which only the second knows the node.

type categories struct {
	cluster, local []model.Endpoint
	any            bool
}

func isTrue(b *bool, absent bool) bool { return b == nil && absent || b != nil && *b }

// categorize is kube-proxy's CategorizeEndpoints for one port number of all
// endpoints of a slice.
func categorize(node resolve.Node, s *discoveryv1.EndpointSlice) categories {
	var c categories
	var ready, terminating, localReady, localTerminating []*discoveryv1.Endpoint
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		local := e.NodeName != nil && *e.NodeName == node.Name
		switch {
		case isTrue(e.Conditions.Ready, true):
			ready = append(ready, e)
			if local {
				localReady = append(localReady, e)
			}
		case isTrue(e.Conditions.Serving, true) && isTrue(e.Conditions.Terminating, false):
			terminating = append(terminating, e)
			if local {
				localTerminating = append(localTerminating, e)
			}
		}
	}
	cluster, local := nearestTo(node, ready), localReady
	if len(ready) == 0 {
		cluster = terminating
	}
	if len(localReady) == 0 {
		local = localTerminating
	}
	c.any = len(ready)+len(terminating) > 0
	c.cluster, c.local = texts(s, cluster), texts(s, local)
	return c
}

func nearestTo(node resolve.Node, ready []*discoveryv1.Endpoint) []*discoveryv1.Endpoint {
	var sameNode, sameZone []*discoveryv1.Endpoint
	allNode, allZone := true, true
	for _, e := range ready {
		hints := e.Hints
		if hints == nil {
			hints = &discoveryv1.EndpointHints{}
		}
		allNode = allNode && len(hints.ForNodes) > 0
		allZone = allZone && len(hints.ForZones) > 0
		if slices.Contains(hints.ForNodes, discoveryv1.ForNode{Name: node.Name}) {
			sameNode = append(sameNode, e)
		}
		if zone := node.Spec.Node.Zone; zone != "" && slices.Contains(hints.ForZones, discoveryv1.ForZone{Name: zone}) {
			sameZone = append(sameZone, e)
		}
	}
	switch {
	case allNode && len(sameNode) > 0:
		return sameNode
	case allZone && len(sameZone) > 0:
		return sameZone
	}
	return ready
}

func texts(s *discoveryv1.EndpointSlice, endpoints []*discoveryv1.Endpoint) []model.Endpoint {
	var out []model.Endpoint
	for _, e := range endpoints {
		out = append(out, Endpoint(fmt.Sprintf("%s:%d", e.Addresses[0], *s.Ports[0].Port)))
	}
	slices.SortFunc(out, model.Endpoint.Compare)
	return out
}

// verdict is what a set of endpoints means.
func verdict(endpoints []model.Endpoint, empty model.Verdict) string {
	if len(endpoints) == 0 {
		return string(empty)
	}
	return fmt.Sprint(endpoints)
}

func verdictOf(b model.Backend) string { return verdict(b.Endpoints, b.Verdict) }

func TestAgainstReference(t *testing.T) {
	EverySeed(t, 2000, func(t *testing.T, r *Random) {
		service := Web()
		if r.Chance(60) {
			service.NodePort(3001)
		}
		if r.Chance(50) {
			service.ExternalLocal()
		}
		if r.Chance(50) {
			service.InternalLocal()
		}
		s := WebSlice()
		allHinted := r.Chance(70)
		readiness := Pick(r, 0, 20, 60)
		for i := range r.IntN(7) {
			s.Endpoint(Ep(i+1), Pick(r, append(NodeNames, "")...), r.Chance(readiness), r.Chance(70), r.Chance(50))
			if allHinted {
				s.ForZones(Pick(r, ZoneNames...)).ForNodes(Pick(r, NodeNames...))
			} else {
				r.AddHints(s)
			}
		}
		node := ThisNode().Named(Pick(r, append(NodeNames, "fourth")...)).Zone(Pick(r, append(ZoneNames, "")...)).Node
		want := categorize(node, s.EndpointSlice)
		elsewhere := model.Reject
		if want.any {
			elsewhere = model.Drop
		}
		d := TableOf(t, node, Input(service, s)).Desired()
		vip := verdict(want.cluster, model.Reject)
		if service.Spec.InternalTrafficPolicy != nil {
			vip = verdict(want.local, elsewhere)
		}
		f := d.Frontends[model.FrontendKey{Address: Addr("172.30.0.41"), Protocol: model.TCP, Port: 80}]
		if in, out := verdictOf(f.Internal), verdictOf(f.External); in != vip || out != vip {
			t.Errorf("cluster IP: got %s and %s, want %s", in, out, vip)
		}
		f = d.Frontends[model.FrontendKey{Address: Addr("0.0.0.0"), Protocol: model.TCP, Port: 3001}]
		if f == nil {
			return
		}
		internal, external := verdict(want.cluster, model.Reject), verdict(want.cluster, model.Reject)
		if service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
			external = verdict(want.local, elsewhere)
		}
		if in, out := verdictOf(f.Internal), verdictOf(f.External); in != internal || out != external {
			t.Errorf("node port: got %s and %s, want %s and %s", in, out, internal, external)
		}
	})
}
