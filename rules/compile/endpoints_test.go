// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// T21: the policy Local does not count for a Service that is not reachable from outside,
// so the terminating endpoint is of no use.
func TestLocalPolicyOfUnreachableService(t *testing.T) {
	s := webSlice().Ready(ep(1), there).Terminating(ep(2), here)
	for name, c := range map[string]struct {
		service *serviceBuilder
		want    []string
	}{
		"T21 not reachable":             {web().ExternalLocal(), []string{"10.0.0.1"}},
		"T21 only ipMode Proxy":         {web().ExternalLocal().Ingress(ingress("1.2.3.4", corev1.LoadBalancerIPModeProxy)), []string{"10.0.0.1"}},
		"reachable by node port":        {web().NodePort(3001).ExternalLocal(), []string{"10.0.0.1", "10.0.0.2 TerminatingLocal"}},
		"reachable by load balancer":    {web().LoadBalancer("1.2.3.4").ExternalLocal(), []string{"10.0.0.1", "10.0.0.2 TerminatingLocal"}},
		"reachable by external IP":      {web().ExternalIPs("1.2.3.4").ExternalLocal(), []string{"10.0.0.1", "10.0.0.2 TerminatingLocal"}},
		"reachable in the other family": {web().ExternalIPs("2001:db8::4").ExternalLocal(), []string{"10.0.0.1"}},
		"policy Cluster":                {web().NodePort(3001), []string{"10.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, states(compile.Service(input(c.service, s)))); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
		})
	}
}

// An endpoint that still serves while it terminates keeps its UDP flows, and gets no new
// ones.
func TestDraining(t *testing.T) {
	service := svc("dns").Port("dns", 53).Protocol(corev1.ProtocolUDP).Port("tcp", 53)
	of := func(s *sliceBuilder) *sliceBuilder {
		return s.Port("dns", 5353).Protocol(corev1.ProtocolUDP).Port("tcp", 5353)
	}
	draining := of(slice("dns")).Ready(l1, here).Terminating(r1, there)
	for name, c := range map[string]struct {
		slice         *sliceBuilder
		states        []string
		serving, gets []string
	}{
		"draining":            {draining, []string{l1, r1 + " Draining"}, []string{l1, r1}, []string{l1}},
		"all of them are":     {of(slice("dns")).Terminating(l1, here), []string{l1 + " Terminating"}, []string{l1}, []string{l1}},
		"terminating, no UDP": {slice("dns").Port("tcp", 53).Ready(l1, here).Terminating(r1, there), []string{l1}, nil, nil},
		"not serving":         {of(slice("dns")).Ready(l1, here).Unready(r1, there), []string{l1}, []string{l1}, []string{l1}},
	} {
		t.Run(name, func(t *testing.T) {
			compiled := compile.Service(input(service, c.slice))
			if diff := cmp.Diff(c.states, states(compiled)); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
			resolved, err := resolve.Service(thisNode().Node, webID, specs(compiled, corev1.IPv4Protocol))
			if err != nil {
				t.Fatal(err)
			}
			hosts := func(endpoints []model.Endpoint) (out []string) {
				for _, e := range endpoints {
					out = append(out, e.Addr().String())
				}
				return out
			}
			udp, tcp := resolved.Frontends[0], resolved.Frontends[1]
			if diff := cmp.Diff(c.serving, hosts(udp.Serving)); diff != "" {
				t.Errorf("serving UDP (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.gets, hosts(udp.Internal.Endpoints)); diff != "" {
				t.Errorf("endpoints of UDP (-want +got):\n%s", diff)
			}
			if len(tcp.Serving) > 0 || len(resolved.LocalEndpoints) != 1 {
				t.Errorf("serving TCP %v, local %v", tcp.Serving, resolved.LocalEndpoints)
			}
		})
	}
}

// Endpoints that no node may use are in no slice, so that nodes do not store them.
func TestCompileLeavesOut(t *testing.T) {
	external := web().NodePort(3001).ExternalLocal()
	zones, nodes := []string{"a"}, []string{here}
	hinted := func() *sliceBuilder { return webSlice().Ready(ep(1), here).ForZones("a").ForNodes(here) }
	entry := func(n int, node string, nodes, zones []string) v1alpha1.RuleEndpoint {
		return v1alpha1.RuleEndpoint{Address: ep(n), TargetPorts: []int32{80}, NodeName: node, ForNodes: nodes, ForZones: zones}
	}
	for name, c := range map[string]struct {
		service *serviceBuilder
		slice   *sliceBuilder
		want    []v1alpha1.RuleEndpoint
	}{
		"terminating where one is ready": {external, webSlice().Ready(ep(1), here).Terminating(ep(2), here),
			[]v1alpha1.RuleEndpoint{entry(1, here, nil, nil)}},
		"terminating on no node": {external, webSlice().Ready(ep(1), here).Terminating(ep(2), ""),
			[]v1alpha1.RuleEndpoint{entry(1, here, nil, nil)}},
		"all hints": {web(), hinted().Ready(ep(2), there).ForZones("a").ForNodes(here),
			[]v1alpha1.RuleEndpoint{entry(1, here, nodes, zones), entry(2, there, nodes, zones)}},
		"hints, one has no node hint": {web(), hinted().Ready(ep(2), there).ForZones("a"),
			[]v1alpha1.RuleEndpoint{entry(1, here, nil, zones), entry(2, there, nil, zones)}},
		"hints, one has no zone hint": {web(), hinted().Ready(ep(2), there).ForNodes(here),
			[]v1alpha1.RuleEndpoint{entry(1, here, nodes, nil), entry(2, there, nodes, nil)}},
		"hints, an unready one has none": {web(), hinted().Unready(ep(2), there),
			[]v1alpha1.RuleEndpoint{entry(1, here, nodes, zones)}},
		"hints, local traffic only": {web().InternalLocal(), hinted(),
			[]v1alpha1.RuleEndpoint{entry(1, here, nil, nil)}},
		"hints, cluster-wide by node port": {web().NodePort(3001).InternalLocal(), hinted(),
			[]v1alpha1.RuleEndpoint{entry(1, here, nodes, zones)}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, compile.Service(input(c.service, c.slice)).Slices[0].Spec.Endpoints); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCompileEndpoints(t *testing.T) {
	two := svc("web").Port("http", 80).Port("admin", 9000)
	for name, c := range map[string]struct {
		input compile.Input
		want  []v1alpha1.RuleEndpoint
	}{
		"one entry for all ports": {
			input(two, slice("web").Port("http", 8080).Port("admin", 9001).Ready(ep(1), here)),
			[]v1alpha1.RuleEndpoint{{Address: ep(1), TargetPorts: []int32{8080, 9001}, NodeName: here}},
		},
		"named port with another number in each slice": {
			input(two, slice("web").Port("http", 8080).Ready(ep(2), here), slice("web").Named("web-2").Port("http", 8081).Ready(ep(1), there)),
			[]v1alpha1.RuleEndpoint{
				{Address: ep(1), TargetPorts: []int32{8081, 0}, NodeName: there},
				{Address: ep(2), TargetPorts: []int32{8080, 0}, NodeName: here},
			},
		},
		"ports of an address in two slices": {
			input(two, slice("web").Port("http", 8080).Ready(ep(1), here), slice("web").Named("web-2").Port("admin", 9001).Ready(ep(1), here)),
			[]v1alpha1.RuleEndpoint{{Address: ep(1), TargetPorts: []int32{8080, 9001}, NodeName: here}},
		},
		"two numbers of one port at one address": {
			input(two, slice("web").Port("http", 8081).Ready(ep(1), here), slice("web").Named("web-2").Port("http", 8080).Ready(ep(1), here)),
			[]v1alpha1.RuleEndpoint{
				{Address: ep(1), TargetPorts: []int32{8080, 0}, NodeName: here},
				{Address: ep(1), TargetPorts: []int32{8081, 0}, NodeName: here},
			},
		},
		"same address and port twice, one terminates": {
			input(web(), webSlice().Terminating(ep(1), here), webSlice().Named("web-2").Ready(ep(1), here)),
			[]v1alpha1.RuleEndpoint{{Address: ep(1), TargetPorts: []int32{80}, NodeName: here}},
		},
		"same address and port twice, the one that does not terminate is unready": {
			input(web(), webSlice().Terminating(ep(1), here), webSlice().Named("web-2").Unready(ep(1), here).Ready(ep(2), here)),
			[]v1alpha1.RuleEndpoint{{Address: ep(2), TargetPorts: []int32{80}, NodeName: here}},
		},
		"same address and port twice, one serves": {
			input(web(), webSlice().Endpoint(ep(1), here, false, false, true), webSlice().Named("web-2").Terminating(ep(1), here)),
			[]v1alpha1.RuleEndpoint{{Address: ep(1), TargetPorts: []int32{80}, NodeName: here, State: v1alpha1.EndpointTerminating}},
		},
		"same address in sloppy and canonical form": {
			input(web(), webSlice().Ready("10.0.0.001", here).Ready("10.0.0.1", here).Ready(" 10.0.0.1", here)),
			[]v1alpha1.RuleEndpoint{{Address: ep(1), TargetPorts: []int32{80}, NodeName: here}},
		},
		"sorted by value, not by text": {
			input(web(), webSlice().Ready(ep(10), here).Ready(ep(9), here)),
			[]v1alpha1.RuleEndpoint{
				{Address: ep(9), TargetPorts: []int32{80}, NodeName: here},
				{Address: ep(10), TargetPorts: []int32{80}, NodeName: here},
			},
		},
		"hints count for one port only": {
			input(two, slice("web").Port("http", 80).Port("admin", 81).Ready(ep(1), here).ForZones("b", "a"),
				slice("web").Named("web-2").Port("admin", 81).Ready(ep(2), here)),
			[]v1alpha1.RuleEndpoint{
				{Address: ep(1), TargetPorts: []int32{0, 81}, NodeName: here},
				{Address: ep(1), TargetPorts: []int32{80, 0}, NodeName: here, ForZones: []string{"a", "b"}},
				{Address: ep(2), TargetPorts: []int32{0, 81}, NodeName: here},
			},
		},
		"protocol and name must both fit": {
			input(svc("web").Port("dns", 53).Protocol(corev1.ProtocolUDP), slice("web").Port("dns", 53).Port("other", 53).Protocol(corev1.ProtocolUDP).Ready(ep(1), here)),
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			compiled := compile.Service(c.input)
			if diff := cmp.Diff(c.want, compiled.Slices[0].Spec.Endpoints); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
			if len(compiled.Problems) > 0 {
				t.Errorf("problems: %v", compiled.Problems)
			}
		})
	}
}

// Absent conditions mean ready, serving and not terminating.
func TestAbsentConditions(t *testing.T) {
	s := webSlice().Ready(ep(1), here)
	s.Endpoints[0].Conditions.Ready, s.Endpoints[0].Conditions.Serving, s.Endpoints[0].Conditions.Terminating = nil, nil, nil
	if diff := cmp.Diff([]string{"10.0.0.1"}, states(compile.Service(input(web(), s)))); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}

// Only the first address of an endpoint counts, and an endpoint may have none.
func TestFirstAddressOnly(t *testing.T) {
	s := webSlice().Ready(ep(1), here).Ready(ep(2), here)
	s.Endpoints[0].Addresses = []string{ep(1), ep(3)}
	s.Endpoints[1].Addresses = nil
	if diff := cmp.Diff([]string{"10.0.0.1"}, states(compile.Service(input(web(), s)))); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}
