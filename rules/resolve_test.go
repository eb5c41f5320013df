// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// byValue compares addresses by ==: they have unexported fields.
var byValue = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}),
	cmpopts.EquateEmpty(),
}

var webID = ServiceID{Namespace: "default", Name: "web", Family: corev1.IPv4Protocol}

// rule is a slice of web with a port http:80 and one endpoint here.
func rule() *v1alpha1.ServiceRuleSliceSpec {
	return specs(Compile(input(web(), webSlice().ready(l1, here))), corev1.IPv4Protocol)[0]
}

func TestResolveFrontends(t *testing.T) {
	all := svc("web").port("http", 80).nodePort(3001).loadBalancer("1.2.3.4").externalIPs("192.168.99.11").
		sources("203.0.113.0/25").externalLocal().affinity(77)
	in := input(all, slice("web").port("http", 8080).ready(r1, there).ready(l1, here))
	got, err := Resolve(thisNode().Node, webID, specs(Compile(in), corev1.IPv4Protocol))
	if err != nil {
		t.Fatal(err)
	}
	local, remote := endpoint("10.180.0.1:8080"), endpoint("10.180.1.1:8080")
	both := Backend{Forward, MasqueradeUnlessPod, []Endpoint{local, remote}, false}
	mine := Backend{Forward, MasqueradeNever, []Endpoint{local}, true}
	frontend := func(kind Kind, address string, port uint16, internal, external Backend) Frontend {
		return Frontend{
			Key: FrontendKey{addr(address), TCP, port}, Kind: kind, Service: webID, PortName: "http",
			Internal: internal, External: external, AffinityTimeoutSeconds: 77,
			PortKey: FrontendKey{addr("172.30.0.41"), TCP, 80},
		}
	}
	lb := frontend(KindLoadBalancer, "1.2.3.4", 80, both, mine)
	lb.Restricted, lb.Sources = true, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/25")}
	want := Resolved{
		Frontends: []Frontend{
			frontend(KindClusterIP, "172.30.0.41", 80, both, both),
			lb,
			frontend(KindExternalIP, "192.168.99.11", 80, both, mine),
			frontend(KindNodePort, "0.0.0.0", 3001, both, mine),
		},
		LocalEndpoints: []netip.Addr{addr(l1)},
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("resolved (-want +got):\n%s", diff)
	}
}

func TestResolveNothing(t *testing.T) {
	got, err := Resolve(thisNode().Node, webID, nil)
	if diff := cmp.Diff(Resolved{}, got, byValue); diff != "" || err != nil {
		t.Errorf("error %v, resolved (-want +got):\n%s", err, diff)
	}
}

func TestAffinity(t *testing.T) {
	for name, c := range map[string]struct {
		service *serviceBuilder
		node    *nodeBuilder
		want    int32
	}{
		"none":                          {web(), thisNode(), 0},
		"of the Service":                {web().affinity(77), thisNode().affinity(v1alpha1.AffinityFromService, 5), 77},
		"Service has none":              {web(), thisNode().affinity(v1alpha1.AffinityFromService, 5), 0},
		"forced":                        {web(), thisNode().affinity(v1alpha1.AffinityClientIP, 5), 5},
		"forced, the Service names one": {web().affinity(77), thisNode().affinity(v1alpha1.AffinityClientIP, 5), 77},
	} {
		t.Run(name, func(t *testing.T) {
			d := tableOf(t, c.node.Node, input(c.service)).Desired()
			if got := d.Frontends[FrontendKey{addr("172.30.0.41"), TCP, 80}].AffinityTimeoutSeconds; got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestLocalEndpoints(t *testing.T) {
	s := slice("web").port("http", 80).port("admin", 81).
		ready("10.0.0.9", here).ready("10.0.0.10", here).ready("10.0.0.1", there).ready("10.0.0.2", "").terminating("10.0.0.3", here)
	in := input(svc("web").port("http", 80).port("admin", 81), s)
	for name, c := range map[string]struct {
		node Node
		want []string
	}{
		"here":             {thisNode().Node, []string{"10.0.0.9", "10.0.0.10"}},
		"there":            {thisNode().named(there).Node, []string{"10.0.0.1"}},
		"elsewhere":        {thisNode().named("third").Node, nil},
		"node has no name": {thisNode().named("").Node, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Resolve(c.node, webID, specs(Compile(in), corev1.IPv4Protocol))
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, a := range got.LocalEndpoints {
				texts = append(texts, a.String())
			}
			if diff := cmp.Diff(c.want, texts); diff != "" {
				t.Errorf("local endpoints (-want +got):\n%s", diff)
			}
		})
	}
}

// While the parts of a Service are rewritten one after the other, they may
// disagree: the ports and addresses of the first part count.
func TestPartsThatDisagree(t *testing.T) {
	newer := specs(Compile(input(web().port("new", 90), slice("web").port("http", 80).port("new", 9090).ready(l1, here).forZones("a"))), corev1.IPv4Protocol)[0]
	older := specs(Compile(input(svc("web").ip("172.30.0.99").port("old", 70).port("http", 80),
		slice("web").port("old", 70).port("http", 81).ready(l1, here).ready(r1, there))), corev1.IPv4Protocol)[0]
	older.Part = 1
	for name, parts := range map[string][]*v1alpha1.ServiceRuleSliceSpec{"in order": {newer, older}, "reversed": {older, newer}} {
		t.Run(name, func(t *testing.T) {
			node := thisNode().zone("a").Node
			resolved, err := Resolve(node, webID, parts)
			if err != nil {
				t.Fatal(err)
			}
			table := NewTable()
			table.Set(webID, resolved)
			checkFlows(t, node, table.Desired(), []flow{
				// One endpoint has no hint, so none counts.
				{"host", "172.30.0.41:80", "10.180.0.1:80 10.180.0.1:81 10.180.1.1:81 snat"},
				{"host", "172.30.0.41:90", "10.180.0.1:9090 snat"},
				{"host", "172.30.0.99:80", "pass"},
			})
		})
	}
}

// TestResolveMalformed covers slices that Compile never writes: what is
// malformed is left out and named, the rest works.
func TestResolveMalformed(t *testing.T) {
	endpointOf := func(address string) func(*v1alpha1.ServiceRuleSliceSpec) {
		return func(s *v1alpha1.ServiceRuleSliceSpec) {
			s.Endpoints = append(s.Endpoints, v1alpha1.RuleEndpoint{Address: address, TargetPorts: []int32{80}})
		}
	}
	for name, c := range map[string]struct {
		change func(*v1alpha1.ServiceRuleSliceSpec)
		want   string // in the error
	}{
		"endpoint is no address":    {endpointOf("x"), `endpoint x:80 is malformed: "x" is not`},
		"endpoint is loopback":      {endpointOf("127.0.0.1"), "endpoint 127.0.0.1:80 is malformed"},
		"endpoint is link-local":    {endpointOf("169.254.169.254"), "endpoint 169.254.169.254:80 is malformed"},
		"endpoint of other family":  {endpointOf("fd00::1"), "endpoint fd00::1:80 is malformed: wrong family"},
		"endpoint with a zone":      {endpointOf("fd00::1%eth0"), "must have no zone"},
		"endpoint port is negative": {func(s *v1alpha1.ServiceRuleSliceSpec) { endpointOf("10.0.0.9")(s); s.Endpoints[1].TargetPorts[0] = -1 }, "endpoint 10.0.0.9:-1"},
		"endpoint port is too big": {func(s *v1alpha1.ServiceRuleSliceSpec) {
			endpointOf("10.0.0.9")(s)
			s.Endpoints[1].TargetPorts[0] = 65616
		}, "endpoint 10.0.0.9:65616"},
		"external IP is loopback":   {func(s *v1alpha1.ServiceRuleSliceSpec) { s.ExternalIPs = []string{"127.0.0.1"} }, "ExternalIP 127.0.0.1:80 is malformed"},
		"external IP is mapped":     {func(s *v1alpha1.ServiceRuleSliceSpec) { s.ExternalIPs = []string{"::ffff:127.0.0.1"} }, "ExternalIP ::ffff:127.0.0.1:80 is malformed"},
		"load balancer unspecified": {func(s *v1alpha1.ServiceRuleSliceSpec) { s.LoadBalancerIPs = []string{"0.0.0.0"} }, "LoadBalancer 0.0.0.0:80 is malformed"},
		"load balancer IPv6":        {func(s *v1alpha1.ServiceRuleSliceSpec) { s.LoadBalancerIPs = []string{"2001:db8::1"} }, "wrong family"},
		"node port is too big":      {func(s *v1alpha1.ServiceRuleSliceSpec) { s.Ports[0].NodePort = 65536 }, "NodePort 0.0.0.0:65536 is malformed"},
		"port 0":                    {func(s *v1alpha1.ServiceRuleSliceSpec) { s.Ports = append(s.Ports, v1alpha1.RulePort{Name: "bad"}) }, `port "bad" is malformed`},
		"protocol": {func(s *v1alpha1.ServiceRuleSliceSpec) {
			s.Ports = append(s.Ports, v1alpha1.RulePort{Name: "bad", Port: 1, Protocol: "ICMP"})
		}, `port "bad" is malformed`},
	} {
		t.Run(name, func(t *testing.T) {
			spec := rule()
			c.change(spec)
			got, err := Resolve(thisNode().Node, webID, []*v1alpha1.ServiceRuleSliceSpec{spec})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "default/web (IPv4)") {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if len(got.Frontends) != 1 || !cmp.Equal([]Endpoint{endpoint("10.180.0.1:80")}, got.Frontends[0].Internal.Endpoints, byValue) {
				t.Errorf("frontends %v", got.Frontends)
			}
		})
	}
}

// Fewer target ports than ports, and 0, mean: does not serve that port.
func TestMissingTargetPorts(t *testing.T) {
	spec := rule()
	spec.Ports = append(spec.Ports, v1alpha1.RulePort{Name: "admin", Protocol: corev1.ProtocolTCP, Port: 81})
	got, err := Resolve(thisNode().Node, webID, []*v1alpha1.ServiceRuleSliceSpec{spec})
	if err != nil || got.Frontends[0].Internal.Verdict != Forward || got.Frontends[1].Internal.Verdict != Reject {
		t.Errorf("error %v, frontends %v", err, got.Frontends)
	}
}

// Malformed sources never open a frontend.
func TestMalformedSources(t *testing.T) {
	spec := rule()
	spec.LoadBalancerIPs = []string{"1.2.3.4"}
	spec.LoadBalancerSources = &v1alpha1.SourceRanges{Allowed: []string{"nonsense", "2001:db8::/32", "192.168.7.9/16", "192.168.0.0/16"}}
	got, err := Resolve(thisNode().Node, webID, []*v1alpha1.ServiceRuleSliceSpec{spec})
	if err == nil || !strings.Contains(err.Error(), `source range "nonsense"`) || !strings.Contains(err.Error(), "2001:db8::/32") {
		t.Errorf("error %v", err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("1.2.3.4/32"), netip.MustParsePrefix("192.168.0.0/16")}
	if f := got.Frontends[1]; !f.Restricted || !cmp.Equal(want, f.Sources, byValue) {
		t.Errorf("frontend %+v", f)
	}
}

func TestFrontendKey(t *testing.T) {
	ordered := []FrontendKey{
		{addr("0.0.0.0"), TCP, 3001},
		{addr("10.96.0.9"), UDP, 53},
		{addr("10.96.0.10"), TCP, 53},
		{addr("10.96.0.10"), TCP, 80},
		{addr("10.96.0.10"), UDP, 53},
		{addr("fd00::10"), SCTP, 53},
	}
	for i, a := range ordered {
		for j, b := range ordered {
			if got, want := a.Compare(b) < 0, i < j; got != want {
				t.Errorf("%s < %s: %v", a, b, got)
			}
		}
		if a.IsNodePort() != (i == 0) {
			t.Errorf("%s: IsNodePort %v", a, a.IsNodePort())
		}
	}
	for want, key := range map[string]FrontendKey{"10.96.0.9:53/udp": ordered[1], "[fd00::10]:53/sctp": ordered[5], "10.0.0.1:1/47": {addr("10.0.0.1"), 47, 1}} {
		if got := key.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
