// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Endpoint n of the topology cases is 10.0.0.n.
func ep(n int) string { return fmt.Sprintf("10.0.0.%d", n) }

// zoned makes ready endpoints 1, 2, ... of which each has the hints of one
// argument, separated by commas; the odd ones are on this node.
func zoned(hints ...string) *sliceBuilder {
	s := webSlice()
	for i, h := range hints {
		s.ready(ep(i+1), []string{here, there}[i%2])
		if h != "" {
			s.forZones(strings.Split(h, ",")...)
		}
	}
	return s
}

// byNode makes ready endpoints 1..4 on node-1, node-2, node-1, node-3, with a
// hint for that node and for a zone: 1 and 4 for a, 2 for b, 3 for c.
func byNode() *sliceBuilder {
	s := webSlice()
	zones := []string{"a", "b", "c", "a"}
	for i, node := range []string{"node-1", "node-2", "node-1", "node-3"} {
		s.ready(ep(i+1), node).forNodes(node).forZones(zones[i])
	}
	return s
}

// TestCategorize covers what an endpoint is used for: cluster-wide traffic (to
// the ClusterIP, or from outside under the policy Cluster), or local traffic.
func TestCategorize(t *testing.T) {
	in := func(zone string) *nodeBuilder { return thisNode().zone(zone) }
	external := func() *serviceBuilder { return web().nodePort(3001).externalLocal() }
	abca := webSlice().ready(ep(1), here).forZones("a").ready(ep(2), here).forZones("b").
		ready(ep(3), there).forZones("c").ready(ep(4), there).forZones("a")
	lr := webSlice().ready(ep(1), here).ready(ep(2), there)
	for name, c := range map[string]struct {
		node    *nodeBuilder
		service *serviceBuilder
		slice   *sliceBuilder
		vip     string // endpoints of the ClusterIP, or the verdict
		np      string // endpoints of the node port from outside
	}{
		"T1 zone a":                            {in("a"), web(), zoned("a", "b", "c", "a"), "1 4", "pass"},
		"T2 external Local, hints":             {in("a"), external(), abca, "1 4", "1 2"},
		"T3 internal Local, hints":             {in("a"), web().nodePort(3001).internalLocal(), abca, "1 2", "1 4"},
		"T4 node without zone":                 {in(""), web(), zoned("a", "b", "c", "a"), "1 2 3 4", "pass"},
		"T5 zone empty, hint empty":            {in(""), web(), zoned("a", "b").forZones(""), "1 2", "pass"},
		"T6 zone that no hint names":           {in("b"), web(), zoned("a", "a", "a"), "1 2 3", "pass"},
		"T7 unready in my zone":                {in("a"), web(), zoned("a", "b", "c").unready(ep(4), here).forZones("a"), "1", "pass"},
		"T7 unready without hint":              {in("a"), web(), zoned("a", "b", "c").unready(ep(4), here), "1", "pass"},
		"T7 terminating without hint":          {in("a"), web(), zoned("a", "b", "c").terminating(ep(4), here), "1", "pass"},
		"T8 only unready in my zone":           {in("a"), web(), zoned("b", "b", "c").unready(ep(4), here).forZones("a"), "1 2 3", "pass"},
		"T9 a ready one without hint":          {in("a"), web(), zoned("a", "b", "", "a"), "1 2 3 4", "pass"},
		"T10 several hints":                    {in("c"), web(), zoned("a,b,c", "b,c", "b,d", "c"), "1 2 4", "pass"},
		"T11 node hints":                       {in("a").named("node-1"), web(), byNode(), "1 3", "pass"},
		"T12 a ready one without any hint":     {in("a").named("node-1"), web(), byNode().ready(ep(5), "node-2"), "1 2 3 4 5", "pass"},
		"T12 a ready one without node hint":    {in("a").named("node-1"), web(), byNode().ready(ep(5), "node-2").forZones("b"), "1 4", "pass"},
		"T13 no hint for this node":            {in("a").named("node-0"), web(), byNode(), "1 4", "pass"},
		"T13 no hint for node or zone":         {in("d").named("node-0"), web(), byNode(), "1 2 3 4", "pass"},
		"T14 internal Local, all remote":       {nil, web().internalLocal(), webSlice().ready(ep(1), there).ready(ep(2), there), "DROP", "pass"},
		"T15 none":                             {nil, external(), webSlice(), "REJECT", "REJECT"},
		"T16 all unready":                      {nil, external(), webSlice().unready(ep(1), here).unready(ep(2), there), "REJECT", "REJECT"},
		"T17 all terminating":                  {nil, web(), webSlice().terminating(ep(1), here).terminating(ep(2), there), "1 2", "pass"},
		"T17 terminating ignore hints":         {in("a"), web(), webSlice().terminating(ep(1), here).forZones("a").terminating(ep(2), there).forZones("b"), "1 2", "pass"},
		"T18 internal Local, external Cluster": {nil, web().nodePort(3001).internalLocal(), lr, "1", "1 2"},
		"T19 both Local, remote terminating":   {nil, external().internalLocal(), webSlice().terminating(ep(1), there).terminating(ep(2), there), "DROP", "DROP"},
		"T20 external Local, own terminates":   {nil, external(), webSlice().ready(ep(1), there).unready(ep(2), here).terminating(ep(3), here).terminating(ep(4), there), "1", "3"},
		"T20 external Local, seen from there":  {thisNode().named(there), external(), webSlice().ready(ep(1), there).terminating(ep(3), here).terminating(ep(4), there), "1", "1"},
		"T22 neither ready nor serving":        {nil, external(), webSlice().endpoint(ep(1), here, false, false, false), "REJECT", "REJECT"},
		"T22 terminating but not serving":      {nil, external(), webSlice().endpoint(ep(1), here, false, false, true), "REJECT", "REJECT"},
		"internal Local, own terminates":       {nil, web().internalLocal(), webSlice().terminating(ep(1), here).ready(ep(2), there), "1", "pass"},
	} {
		t.Run(name, func(t *testing.T) {
			want := func(numbers string) string {
				if strings.ContainsAny(numbers, "DRp") {
					return numbers
				}
				var out []string
				for n := range strings.FieldsSeq(numbers) {
					out = append(out, "10.0.0."+n+":80")
				}
				return strings.Join(out, " ")
			}
			np := want(c.np)
			if strings.Contains(np, ":") && c.service.Spec.ExternalTrafficPolicy == "" {
				np += " snat"
			}
			flowCase{node: c.node, inputs: one(input(c.service, c.slice)), flows: []flow{
				{"pod", "172.30.0.41:80", want(c.vip)}, {"out", "192.168.0.2:3001", np},
			}}.run(t)
		})
	}
}

// T21: the policy Local of a Service that nobody reaches from outside does not
// count, so the terminating endpoint is of no use.
func TestLocalPolicyOfUnreachableService(t *testing.T) {
	s := webSlice().ready(ep(1), there).terminating(ep(2), here)
	for name, c := range map[string]struct {
		service *serviceBuilder
		want    []string
	}{
		"T21 not reachable":             {web().externalLocal(), []string{"10.0.0.1"}},
		"T21 only ipMode Proxy":         {web().externalLocal().ingress(ingress("1.2.3.4", corev1.LoadBalancerIPModeProxy)), []string{"10.0.0.1"}},
		"reachable by node port":        {web().nodePort(3001).externalLocal(), []string{"10.0.0.1", "10.0.0.2 TerminatingLocal"}},
		"reachable by load balancer":    {web().loadBalancer("1.2.3.4").externalLocal(), []string{"10.0.0.1", "10.0.0.2 TerminatingLocal"}},
		"reachable by external IP":      {web().externalIPs("1.2.3.4").externalLocal(), []string{"10.0.0.1", "10.0.0.2 TerminatingLocal"}},
		"reachable in the other family": {web().externalIPs("2001:db8::4").externalLocal(), []string{"10.0.0.1"}},
		"policy Cluster":                {web().nodePort(3001), []string{"10.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, states(Compile(input(c.service, s)))); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
		})
	}
}

// What still serves while it terminates keeps its flows of UDP, and gets no new ones.
func TestDraining(t *testing.T) {
	service := svc("dns").port("dns", 53).protocol(corev1.ProtocolUDP).port("tcp", 53)
	of := func(s *sliceBuilder) *sliceBuilder {
		return s.port("dns", 5353).protocol(corev1.ProtocolUDP).port("tcp", 5353)
	}
	draining := of(slice("dns")).ready(l1, here).terminating(r1, there)
	for name, c := range map[string]struct {
		slice         *sliceBuilder
		states        []string
		serving, gets []string
	}{
		"draining":            {draining, []string{l1, r1 + " Draining"}, []string{l1, r1}, []string{l1}},
		"all of them are":     {of(slice("dns")).terminating(l1, here), []string{l1 + " Terminating"}, []string{l1}, []string{l1}},
		"terminating, no UDP": {slice("dns").port("tcp", 53).ready(l1, here).terminating(r1, there), []string{l1}, nil, nil},
		"not serving":         {of(slice("dns")).ready(l1, here).unready(r1, there), []string{l1}, []string{l1}, []string{l1}},
	} {
		t.Run(name, func(t *testing.T) {
			compiled := Compile(input(service, c.slice))
			if diff := cmp.Diff(c.states, states(compiled)); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
			resolved, err := Resolve(thisNode().Node, webID, specs(compiled, corev1.IPv4Protocol))
			if err != nil {
				t.Fatal(err)
			}
			hosts := func(endpoints []Endpoint) (out []string) {
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

// states returns the IPv4 endpoints with their states, if not Ready.
func states(c Compiled) []string {
	var out []string
	for _, spec := range specs(c, corev1.IPv4Protocol) {
		for _, e := range spec.Endpoints {
			out = append(out, strings.TrimSpace(e.Address+" "+string(e.State)))
		}
	}
	return out
}

// What no node may use is not in a slice at all: nodes would only carry it about.
func TestCompileLeavesOut(t *testing.T) {
	external := web().nodePort(3001).externalLocal()
	zones, nodes := []string{"a"}, []string{here}
	hinted := func() *sliceBuilder { return webSlice().ready(ep(1), here).forZones("a").forNodes(here) }
	entry := func(n int, node string, nodes, zones []string) v1alpha1.RuleEndpoint {
		return v1alpha1.RuleEndpoint{Address: ep(n), TargetPorts: []int32{80}, NodeName: node, ForNodes: nodes, ForZones: zones}
	}
	for name, c := range map[string]struct {
		service *serviceBuilder
		slice   *sliceBuilder
		want    []v1alpha1.RuleEndpoint
	}{
		"terminating where one is ready": {external, webSlice().ready(ep(1), here).terminating(ep(2), here),
			[]v1alpha1.RuleEndpoint{entry(1, here, nil, nil)}},
		"terminating on no node": {external, webSlice().ready(ep(1), here).terminating(ep(2), ""),
			[]v1alpha1.RuleEndpoint{entry(1, here, nil, nil)}},
		"all hints": {web(), hinted().ready(ep(2), there).forZones("a").forNodes(here),
			[]v1alpha1.RuleEndpoint{entry(1, here, nodes, zones), entry(2, there, nodes, zones)}},
		"hints, one has no node hint": {web(), hinted().ready(ep(2), there).forZones("a"),
			[]v1alpha1.RuleEndpoint{entry(1, here, nil, zones), entry(2, there, nil, zones)}},
		"hints, one has no zone hint": {web(), hinted().ready(ep(2), there).forNodes(here),
			[]v1alpha1.RuleEndpoint{entry(1, here, nodes, nil), entry(2, there, nodes, nil)}},
		"hints, an unready one has none": {web(), hinted().unready(ep(2), there),
			[]v1alpha1.RuleEndpoint{entry(1, here, nodes, zones)}},
		"hints, local traffic only": {web().internalLocal(), hinted(),
			[]v1alpha1.RuleEndpoint{entry(1, here, nil, nil)}},
		"hints, cluster-wide by node port": {web().nodePort(3001).internalLocal(), hinted(),
			[]v1alpha1.RuleEndpoint{entry(1, here, nodes, zones)}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Compile(input(c.service, c.slice)).Slices[0].Spec.Endpoints); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCompileEndpoints(t *testing.T) {
	two := svc("web").port("http", 80).port("admin", 9000)
	for name, c := range map[string]struct {
		input CompileInput
		want  []v1alpha1.RuleEndpoint
	}{
		"one entry for all ports": {
			input(two, slice("web").port("http", 8080).port("admin", 9001).ready(ep(1), here)),
			[]v1alpha1.RuleEndpoint{{Address: ep(1), TargetPorts: []int32{8080, 9001}, NodeName: here}},
		},
		"named port with another number in each slice": {
			input(two, slice("web").port("http", 8080).ready(ep(2), here), slice("web").named("web-2").port("http", 8081).ready(ep(1), there)),
			[]v1alpha1.RuleEndpoint{
				{Address: ep(1), TargetPorts: []int32{8081, 0}, NodeName: there},
				{Address: ep(2), TargetPorts: []int32{8080, 0}, NodeName: here},
			},
		},
		"ports of an address in two slices": {
			input(two, slice("web").port("http", 8080).ready(ep(1), here), slice("web").named("web-2").port("admin", 9001).ready(ep(1), here)),
			[]v1alpha1.RuleEndpoint{{Address: ep(1), TargetPorts: []int32{8080, 9001}, NodeName: here}},
		},
		"two numbers of one port at one address": {
			input(two, slice("web").port("http", 8081).ready(ep(1), here), slice("web").named("web-2").port("http", 8080).ready(ep(1), here)),
			[]v1alpha1.RuleEndpoint{
				{Address: ep(1), TargetPorts: []int32{8080, 0}, NodeName: here},
				{Address: ep(1), TargetPorts: []int32{8081, 0}, NodeName: here},
			},
		},
		"same address and port twice, one terminates": {
			input(web(), webSlice().terminating(ep(1), here), webSlice().named("web-2").ready(ep(1), here)),
			[]v1alpha1.RuleEndpoint{{Address: ep(1), TargetPorts: []int32{80}, NodeName: here}},
		},
		"same address and port twice, the one that does not terminate is unready": {
			input(web(), webSlice().terminating(ep(1), here), webSlice().named("web-2").unready(ep(1), here).ready(ep(2), here)),
			[]v1alpha1.RuleEndpoint{{Address: ep(2), TargetPorts: []int32{80}, NodeName: here}},
		},
		"same address and port twice, one serves": {
			input(web(), webSlice().endpoint(ep(1), here, false, false, true), webSlice().named("web-2").terminating(ep(1), here)),
			[]v1alpha1.RuleEndpoint{{Address: ep(1), TargetPorts: []int32{80}, NodeName: here, State: v1alpha1.EndpointTerminating}},
		},
		"same address in sloppy and canonical form": {
			input(web(), webSlice().ready("10.0.0.001", here).ready("10.0.0.1", here).ready(" 10.0.0.1", here)),
			[]v1alpha1.RuleEndpoint{{Address: ep(1), TargetPorts: []int32{80}, NodeName: here}},
		},
		"sorted by value, not by text": {
			input(web(), webSlice().ready(ep(10), here).ready(ep(9), here)),
			[]v1alpha1.RuleEndpoint{
				{Address: ep(9), TargetPorts: []int32{80}, NodeName: here},
				{Address: ep(10), TargetPorts: []int32{80}, NodeName: here},
			},
		},
		"hints count for one port only": {
			input(two, slice("web").port("http", 80).port("admin", 81).ready(ep(1), here).forZones("b", "a"),
				slice("web").named("web-2").port("admin", 81).ready(ep(2), here)),
			[]v1alpha1.RuleEndpoint{
				{Address: ep(1), TargetPorts: []int32{0, 81}, NodeName: here},
				{Address: ep(1), TargetPorts: []int32{80, 0}, NodeName: here, ForZones: []string{"a", "b"}},
				{Address: ep(2), TargetPorts: []int32{0, 81}, NodeName: here},
			},
		},
		"protocol and name must both fit": {
			input(svc("web").port("dns", 53).protocol(corev1.ProtocolUDP), slice("web").port("dns", 53).port("other", 53).protocol(corev1.ProtocolUDP).ready(ep(1), here)),
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			compiled := Compile(c.input)
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
	s := webSlice().ready(ep(1), here)
	s.Endpoints[0].Conditions.Ready, s.Endpoints[0].Conditions.Serving, s.Endpoints[0].Conditions.Terminating = nil, nil, nil
	if diff := cmp.Diff([]string{"10.0.0.1"}, states(Compile(input(web(), s)))); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}

// Only the first address of an endpoint counts, and an endpoint may have none.
func TestFirstAddressOnly(t *testing.T) {
	s := webSlice().ready(ep(1), here).ready(ep(2), here)
	s.Endpoints[0].Addresses = []string{ep(1), ep(3)}
	s.Endpoints[1].Addresses = nil
	if diff := cmp.Diff([]string{"10.0.0.1"}, states(Compile(input(web(), s)))); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}
