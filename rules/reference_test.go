// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// What kube-proxy decides for a node from the Service and its endpoints, in one
// step, as it was read from its source. Compile and Resolve decide the same in
// two steps, of which only the second knows the node.

type categories struct {
	cluster, local []Endpoint
	any            bool
}

func isTrue(b *bool, absent bool) bool { return b == nil && absent || b != nil && *b }

// categorize is kube-proxy's CategorizeEndpoints for one port number of all
// endpoints of a slice.
func categorize(node Node, s *discoveryv1.EndpointSlice) categories {
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

func nearestTo(node Node, ready []*discoveryv1.Endpoint) []*discoveryv1.Endpoint {
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

func texts(s *discoveryv1.EndpointSlice, endpoints []*discoveryv1.Endpoint) []Endpoint {
	var out []Endpoint
	for _, e := range endpoints {
		out = append(out, endpoint(fmt.Sprintf("%s:%d", e.Addresses[0], *s.Ports[0].Port)))
	}
	slices.SortFunc(out, Endpoint.Compare)
	return out
}

// verdict is what a set of endpoints means.
func verdict(endpoints []Endpoint, empty Verdict) string {
	if len(endpoints) == 0 {
		return string(empty)
	}
	return fmt.Sprint(endpoints)
}

func verdictOf(b Backend) string { return verdict(b.Endpoints, b.Verdict) }

func TestAgainstReference(t *testing.T) {
	everySeed(t, 2000, func(t *testing.T, r *random) {
		service := web()
		if r.chance(60) {
			service.nodePort(3001)
		}
		if r.chance(50) {
			service.externalLocal()
		}
		if r.chance(50) {
			service.internalLocal()
		}
		s := webSlice()
		allHinted := r.chance(70)
		readiness := pick(r, 0, 20, 60)
		for i := range r.IntN(7) {
			s.endpoint(ep(i+1), pick(r, append(nodeNames, "")...), r.chance(readiness), r.chance(70), r.chance(50))
			if allHinted {
				s.forZones(pick(r, zoneNames...)).forNodes(pick(r, nodeNames...))
			} else {
				r.addHints(s)
			}
		}
		node := thisNode().named(pick(r, append(nodeNames, "fourth")...)).zone(pick(r, append(zoneNames, "")...)).Node
		want := categorize(node, s.EndpointSlice)
		elsewhere := Reject
		if want.any {
			elsewhere = Drop
		}
		d := tableOf(t, node, input(service, s)).Desired()
		vip := verdict(want.cluster, Reject)
		if service.Spec.InternalTrafficPolicy != nil {
			vip = verdict(want.local, elsewhere)
		}
		f := d.Frontends[FrontendKey{addr("172.30.0.41"), TCP, 80}]
		if in, out := verdictOf(f.Internal), verdictOf(f.External); in != vip || out != vip {
			t.Errorf("cluster IP: got %s and %s, want %s", in, out, vip)
		}
		f = d.Frontends[FrontendKey{addr("0.0.0.0"), TCP, 3001}]
		if f == nil {
			return
		}
		internal, external := verdict(want.cluster, Reject), verdict(want.cluster, Reject)
		if service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
			external = verdict(want.local, elsewhere)
		}
		if in, out := verdictOf(f.Internal), verdictOf(f.External); in != internal || out != external {
			t.Errorf("node port: got %s and %s, want %s and %s", in, out, internal, external)
		}
	})
}
