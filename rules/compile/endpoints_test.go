// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// T21: the policy Local does not count for a Service that is not reachable from outside,
// so the terminating endpoint is of no use.
func TestLocalPolicyOfUnreachableService(t *testing.T) {
	s := WebSlice().Ready(Ep(1), There).Terminating(Ep(2), Here)
	for name, c := range map[string]struct {
		service *ServiceBuilder
		want    []string
	}{
		"T21 not reachable":             {Web().ExternalLocal(), []string{"10.0.0.1"}},
		"T21 only ipMode Proxy":         {Web().ExternalLocal().Ingress(Ingress("1.2.3.4", corev1.LoadBalancerIPModeProxy)), []string{"10.0.0.1"}},
		"reachable by node port":        {Web().NodePort(3001).ExternalLocal(), []string{"10.0.0.1", "10.0.0.2 TerminatingLocal"}},
		"reachable by load balancer":    {Web().LoadBalancer("1.2.3.4").ExternalLocal(), []string{"10.0.0.1", "10.0.0.2 TerminatingLocal"}},
		"reachable by external IP":      {Web().ExternalIPs("1.2.3.4").ExternalLocal(), []string{"10.0.0.1", "10.0.0.2 TerminatingLocal"}},
		"reachable in the other family": {Web().ExternalIPs("2001:db8::4").ExternalLocal(), []string{"10.0.0.1"}},
		"policy Cluster":                {Web().NodePort(3001), []string{"10.0.0.1"}},
		"internal policy":               {Web().InternalLocal(), []string{"10.0.0.1", "10.0.0.2 TerminatingLocal"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, States(compile.Service(Input(c.service, s)))); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
		})
	}
}

// An endpoint that still serves while it terminates keeps its UDP flows, and gets no new
// ones.
func TestDraining(t *testing.T) {
	service := Service("dns").Port("dns", 53).Protocol(corev1.ProtocolUDP).Port("tcp", 53)
	of := func(s *SliceBuilder) *SliceBuilder {
		return s.Port("dns", 5353).Protocol(corev1.ProtocolUDP).Port("tcp", 5353)
	}
	draining := of(Slice("dns")).Ready(L1, Here).Terminating(R1, There)
	for name, c := range map[string]struct {
		slice         *SliceBuilder
		states        []string
		serving, gets []string
	}{
		"draining":            {draining, []string{L1, R1 + " Draining"}, []string{L1, R1}, []string{L1}},
		"all of them are":     {of(Slice("dns")).Terminating(L1, Here), []string{L1 + " Terminating"}, []string{L1}, []string{L1}},
		"terminating, no UDP": {Slice("dns").Port("tcp", 53).Ready(L1, Here).Terminating(R1, There), []string{L1}, nil, nil},
		"not serving":         {of(Slice("dns")).Ready(L1, Here).Unready(R1, There), []string{L1}, []string{L1}, []string{L1}},
	} {
		t.Run(name, func(t *testing.T) {
			compiled := compile.Service(Input(service, c.slice))
			if diff := cmp.Diff(c.states, States(compiled)); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
			resolved, err := resolve.Service(ThisNode().Node, WebID, Specs(compiled, corev1.IPv4Protocol))
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
	external := Web().NodePort(3001).ExternalLocal()
	zones, nodes := []string{"a"}, []string{Here}
	hinted := func() *SliceBuilder { return WebSlice().Ready(Ep(1), Here).ForZones("a").ForNodes(Here) }
	entry := func(n int, node string, nodes, zones []string) v1alpha1.RuleEndpoint {
		return v1alpha1.RuleEndpoint{Address: Ep(n), TargetPorts: []int32{80}, NodeName: node, ForNodes: nodes, ForZones: zones}
	}
	for name, c := range map[string]struct {
		service *ServiceBuilder
		slice   *SliceBuilder
		want    []v1alpha1.RuleEndpoint
	}{
		"terminating where one is ready": {external, WebSlice().Ready(Ep(1), Here).Terminating(Ep(2), Here),
			[]v1alpha1.RuleEndpoint{entry(1, Here, nil, nil)}},
		"terminating on no node": {external, WebSlice().Ready(Ep(1), Here).Terminating(Ep(2), ""),
			[]v1alpha1.RuleEndpoint{entry(1, Here, nil, nil)}},
		"all hints": {Web(), hinted().Ready(Ep(2), There).ForZones("a").ForNodes(Here),
			[]v1alpha1.RuleEndpoint{entry(1, Here, nodes, zones), entry(2, There, nodes, zones)}},
		"hints, one has no node hint": {Web(), hinted().Ready(Ep(2), There).ForZones("a"),
			[]v1alpha1.RuleEndpoint{entry(1, Here, nil, zones), entry(2, There, nil, zones)}},
		"hints, one has no zone hint": {Web(), hinted().Ready(Ep(2), There).ForNodes(Here),
			[]v1alpha1.RuleEndpoint{entry(1, Here, nodes, nil), entry(2, There, nodes, nil)}},
		"terminating and not serving, the only one": {external, WebSlice().Endpoint(Ep(1), Here, false, false, true), nil},
		"terminating and not serving beside one that serves": {external, WebSlice().Endpoint(Ep(1), Here, false, false, true).Terminating(Ep(2), Here),
			[]v1alpha1.RuleEndpoint{{Address: Ep(2), TargetPorts: []int32{80}, NodeName: Here, State: v1alpha1.EndpointTerminating}}},
		"hints, an unready one has none": {Web(), hinted().Unready(Ep(2), There),
			[]v1alpha1.RuleEndpoint{entry(1, Here, nodes, zones)}},
		"hints, all terminate": {Web(), WebSlice().Terminating(Ep(1), Here).ForZones("a").ForNodes(Here),
			[]v1alpha1.RuleEndpoint{{Address: Ep(1), TargetPorts: []int32{80}, NodeName: Here, State: v1alpha1.EndpointTerminating}}},
		"hints, one terminates on its node": {external, WebSlice().Ready(Ep(1), There).ForZones("a").Terminating(Ep(2), Here).ForZones("a").ForNodes(Here),
			[]v1alpha1.RuleEndpoint{entry(1, There, nil, zones), {Address: Ep(2), TargetPorts: []int32{80}, NodeName: Here, State: v1alpha1.EndpointTerminatingLocal}}},
		"hints, one drains": {Service("web").Port("http", 80).Protocol(corev1.ProtocolUDP),
			Slice("web").Port("http", 80).Protocol(corev1.ProtocolUDP).Ready(Ep(1), There).ForZones("a").Terminating(Ep(2), Here).ForZones("a").ForNodes(Here),
			[]v1alpha1.RuleEndpoint{entry(1, There, nil, zones), {Address: Ep(2), TargetPorts: []int32{80}, NodeName: Here, State: v1alpha1.EndpointDraining}}},
		"unready, says that it serves": {external, WebSlice().Endpoint(Ep(1), Here, false, true, false), nil},
		"hints, local traffic only": {Web().InternalLocal(), hinted(),
			[]v1alpha1.RuleEndpoint{entry(1, Here, nil, nil)}},
		"hints, cluster-wide by node port": {Web().NodePort(3001).InternalLocal(), hinted(),
			[]v1alpha1.RuleEndpoint{entry(1, Here, nodes, zones)}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, compile.Service(Input(c.service, c.slice)).Slices[0].Spec.Endpoints); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCompileEndpoints(t *testing.T) {
	two := Service("web").Port("http", 80).Port("admin", 9000)
	for name, c := range map[string]struct {
		input compile.Input
		want  []v1alpha1.RuleEndpoint
	}{
		"one entry for all ports": {
			Input(two, Slice("web").Port("http", 8080).Port("admin", 9001).Ready(Ep(1), Here)),
			[]v1alpha1.RuleEndpoint{{Address: Ep(1), TargetPorts: []int32{8080, 9001}, NodeName: Here}},
		},
		"named port with another number in each slice": {
			Input(two, Slice("web").Port("http", 8080).Ready(Ep(2), Here), Slice("web").Named("web-2").Port("http", 8081).Ready(Ep(1), There)),
			[]v1alpha1.RuleEndpoint{
				{Address: Ep(1), TargetPorts: []int32{8081, 0}, NodeName: There},
				{Address: Ep(2), TargetPorts: []int32{8080, 0}, NodeName: Here},
			},
		},
		"ports of an address in two slices": {
			Input(two, Slice("web").Port("http", 8080).Ready(Ep(1), Here), Slice("web").Named("web-2").Port("admin", 9001).Ready(Ep(1), Here)),
			[]v1alpha1.RuleEndpoint{{Address: Ep(1), TargetPorts: []int32{8080, 9001}, NodeName: Here}},
		},
		"two numbers of one port at one address": {
			Input(two, Slice("web").Port("http", 8081).Ready(Ep(1), Here), Slice("web").Named("web-2").Port("http", 8080).Ready(Ep(1), Here)),
			[]v1alpha1.RuleEndpoint{
				{Address: Ep(1), TargetPorts: []int32{8080, 0}, NodeName: Here},
				{Address: Ep(1), TargetPorts: []int32{8081, 0}, NodeName: Here},
			},
		},
		"same address and port twice, one terminates": {
			Input(Web(), WebSlice().Terminating(Ep(1), Here), WebSlice().Named("web-2").Ready(Ep(1), Here)),
			[]v1alpha1.RuleEndpoint{{Address: Ep(1), TargetPorts: []int32{80}, NodeName: Here}},
		},
		"same address and port twice, the one that does not terminate is unready": {
			Input(Web(), WebSlice().Terminating(Ep(1), Here), WebSlice().Named("web-2").Unready(Ep(1), Here).Ready(Ep(2), Here)),
			[]v1alpha1.RuleEndpoint{{Address: Ep(2), TargetPorts: []int32{80}, NodeName: Here}},
		},
		"same address and port twice, one serves": {
			Input(Web(), WebSlice().Endpoint(Ep(1), Here, false, false, true), WebSlice().Named("web-2").Terminating(Ep(1), Here)),
			[]v1alpha1.RuleEndpoint{{Address: Ep(1), TargetPorts: []int32{80}, NodeName: Here, State: v1alpha1.EndpointTerminating}},
		},
		"same address in sloppy and canonical form": {
			Input(Web(), WebSlice().Ready("10.0.0.001", Here).Ready("10.0.0.1", Here).Ready(" 10.0.0.1", Here)),
			[]v1alpha1.RuleEndpoint{{Address: Ep(1), TargetPorts: []int32{80}, NodeName: Here}},
		},
		"sorted by value, not by text": {
			Input(Web(), WebSlice().Ready(Ep(10), Here).Ready(Ep(9), Here)),
			[]v1alpha1.RuleEndpoint{
				{Address: Ep(9), TargetPorts: []int32{80}, NodeName: Here},
				{Address: Ep(10), TargetPorts: []int32{80}, NodeName: Here},
			},
		},
		"hints count for one port only": {
			Input(two, Slice("web").Port("http", 80).Port("admin", 81).Ready(Ep(1), Here).ForZones("b", "a"),
				Slice("web").Named("web-2").Port("admin", 81).Ready(Ep(2), Here)),
			[]v1alpha1.RuleEndpoint{
				{Address: Ep(1), TargetPorts: []int32{0, 81}, NodeName: Here},
				{Address: Ep(1), TargetPorts: []int32{80, 0}, NodeName: Here, ForZones: []string{"a", "b"}},
				{Address: Ep(2), TargetPorts: []int32{0, 81}, NodeName: Here},
			},
		},
		"protocol and name must both fit": {
			Input(Service("web").Port("dns", 53).Protocol(corev1.ProtocolUDP), Slice("web").Port("dns", 53).Port("other", 53).Protocol(corev1.ProtocolUDP).Ready(Ep(1), Here)),
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) { compilesTo(t, c.input, c.want) })
	}
}

// TestCompileEndpointsTwice covers addresses that several EndpointSlices, or ports, have.
func TestCompileEndpointsTwice(t *testing.T) {
	two := Service("web").Port("http", 80).Port("admin", 9000)
	for name, c := range map[string]struct {
		input compile.Input
		want  []v1alpha1.RuleEndpoint
	}{
		"same address and port twice, one is ready": {
			Input(Web(), WebSlice().Unready(Ep(1), Here), WebSlice().Named("web-2").Ready(Ep(1), Here)),
			[]v1alpha1.RuleEndpoint{{Address: Ep(1), TargetPorts: []int32{80}, NodeName: Here}},
		},
		"same address and port twice, the ready one terminates": {
			Input(Web(), WebSlice().Unready(Ep(1), Here), WebSlice().Named("web-2").Endpoint(Ep(1), Here, true, true, true)),
			nil,
		},
		"same address and port twice, on two nodes": {
			Input(Web(), WebSlice().Ready(Ep(1), "b"), WebSlice().Named("web-2").Ready(Ep(1), "a")),
			[]v1alpha1.RuleEndpoint{{Address: Ep(1), TargetPorts: []int32{80}, NodeName: "a"}},
		},
		"same address and port twice, in two zones": {
			Input(Web(), WebSlice().Ready(Ep(1), Here).ForZones("b"), WebSlice().Named("web-2").Ready(Ep(1), Here).ForZones("a")),
			[]v1alpha1.RuleEndpoint{{Address: Ep(1), TargetPorts: []int32{80}, NodeName: Here, ForZones: []string{"a"}}},
		},
		"same address and port twice, for two nodes": {
			Input(Web(), WebSlice().Ready(Ep(1), Here).ForNodes("b"), WebSlice().Named("web-2").Ready(Ep(1), Here).ForNodes("a")),
			[]v1alpha1.RuleEndpoint{{Address: Ep(1), TargetPorts: []int32{80}, NodeName: Here, ForNodes: []string{"a"}}},
		},
		"hints are sorted": {
			Input(Web(), WebSlice().Ready(Ep(1), Here).ForNodes("b", "a").ForZones("d", "c")),
			[]v1alpha1.RuleEndpoint{{Address: Ep(1), TargetPorts: []int32{80}, NodeName: Here, ForNodes: []string{"a", "b"}, ForZones: []string{"c", "d"}}},
		},
		"each port has its zones": {
			Input(two, Slice("web").Port("http", 80).Ready(Ep(1), Here).ForZones("a", "c"), Slice("web").Named("web-2").Port("admin", 80).Ready(Ep(1), Here).ForZones("a", "b")),
			[]v1alpha1.RuleEndpoint{
				{Address: Ep(1), TargetPorts: []int32{0, 80}, NodeName: Here, ForZones: []string{"a", "b"}},
				{Address: Ep(1), TargetPorts: []int32{80, 0}, NodeName: Here, ForZones: []string{"a", "c"}},
			},
		},
		"each port has its nodes": {
			Input(two, Slice("web").Port("http", 80).Ready(Ep(1), Here).ForNodes("a", "c"), Slice("web").Named("web-2").Port("admin", 80).Ready(Ep(1), Here).ForNodes("a", "b")),
			[]v1alpha1.RuleEndpoint{
				{Address: Ep(1), TargetPorts: []int32{0, 80}, NodeName: Here, ForNodes: []string{"a", "b"}},
				{Address: Ep(1), TargetPorts: []int32{80, 0}, NodeName: Here, ForNodes: []string{"a", "c"}},
			},
		},
		"two numbers of each port at one address": {
			Input(two, Slice("web").Port("http", 8081).Port("admin", 9001).Ready(Ep(1), Here), Slice("web").Named("web-2").Port("http", 8080).Port("admin", 9000).Ready(Ep(1), Here)),
			[]v1alpha1.RuleEndpoint{
				{Address: Ep(1), TargetPorts: []int32{8080, 9000}, NodeName: Here},
				{Address: Ep(1), TargetPorts: []int32{8081, 9001}, NodeName: Here},
			},
		},
		"an empty protocol": {
			Input(Web(), Slice("web").RawPort(discoveryv1.EndpointPort{Name: new("http"), Port: new(int32(80)), Protocol: new(corev1.Protocol(""))}).Ready(Ep(1), Here)),
			[]v1alpha1.RuleEndpoint{{Address: Ep(1), TargetPorts: []int32{80}, NodeName: Here}},
		},
	} {
		t.Run(name, func(t *testing.T) { compilesTo(t, c.input, c.want) })
	}
}

// compilesTo checks the endpoints of an input, and that nothing else makes a difference: compiled again, or
// in another order, they are the same.
func compilesTo(t *testing.T, in compile.Input, want []v1alpha1.RuleEndpoint) {
	t.Helper()
	compiled := compile.Service(in)
	if diff := cmp.Diff(want, compiled.Slices[0].Spec.Endpoints); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	for range 30 { // what is in a map has another order some of the times
		if diff := cmp.Diff(compiled, compile.Service(in)); diff != "" {
			t.Fatalf("compiled again:\n%s", diff)
		}
	}
	slices.Reverse(in.EndpointSlices)
	if diff := cmp.Diff(compiled, compile.Service(in)); diff != "" {
		t.Errorf("in another order of the EndpointSlices:\n%s", diff)
	}
	if len(compiled.Problems) > 0 {
		t.Errorf("problems: %v", compiled.Problems)
	}
}

// Absent conditions mean ready, serving and not terminating.
func TestAbsentConditions(t *testing.T) {
	yes, no := new(true), new(false)
	for name, tc := range map[string]struct {
		conditions discoveryv1.EndpointConditions
		want       []string
	}{
		"all":                          {discoveryv1.EndpointConditions{}, []string{"10.0.0.1"}},
		"serving, of a terminating":    {discoveryv1.EndpointConditions{Ready: no, Terminating: yes}, []string{"10.0.0.1 Terminating"}},
		"terminating, of an unready":   {discoveryv1.EndpointConditions{Ready: no, Serving: yes}, nil},
		"terminating, of a ready":      {discoveryv1.EndpointConditions{Ready: yes, Serving: yes}, []string{"10.0.0.1"}},
		"all but that it is not ready": {discoveryv1.EndpointConditions{Ready: no}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := WebSlice().Ready(Ep(1), Here)
			s.Endpoints[0].Conditions = tc.conditions
			if diff := cmp.Diff(tc.want, States(compile.Service(Input(Web(), s)))); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
		})
	}
}

// Only the first address of an endpoint counts, and an endpoint may have none.
func TestFirstAddressOnly(t *testing.T) {
	s := WebSlice().Ready(Ep(1), Here).Ready(Ep(2), Here)
	s.Endpoints[0].Addresses = []string{Ep(1), Ep(3)}
	s.Endpoints[1].Addresses = nil
	if diff := cmp.Diff([]string{"10.0.0.1"}, States(compile.Service(Input(Web(), s)))); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}
