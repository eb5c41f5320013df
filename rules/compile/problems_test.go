// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
)

// TestProblems covers invalid values: they are left out with a message, and the rest of
// the Service works.
func TestProblems(t *testing.T) {
	name, zero, big := "http", int32(0), int32(70000)
	const special = " must not be an unspecified, loopback, link-local or multicast address"
	const number = `port "http" skipped: its number must be within 1-65535 (an absent number, meaning all ports, is not supported)`
	odd := func(address string) *SliceBuilder {
		return Slice("web").Named("odd").Port("http", 80).Ready(address, Here)
	}
	oddPort := func(n *int32) *SliceBuilder {
		return Slice("web").Named("odd").RawPort(discoveryv1.EndpointPort{Name: &name, Port: n}).Ready(Ep(9), Here)
	}
	v6 := func(address string) *SliceBuilder { return odd(address).Kind(discoveryv1.AddressTypeIPv6) }
	both := Web().IP("172.30.0.41", "fd00:30::41")
	for name, c := range map[string]struct {
		service *ServiceBuilder
		slice   *SliceBuilder
		object  string
		message string
	}{
		"loopback":                  {nil, odd("127.0.0.1"), "", "endpoint skipped: 127.0.0.1" + special},
		"loopback, mapped":          {nil, odd("::ffff:127.0.0.1"), "", "endpoint skipped: 127.0.0.1" + special},
		"loopback, sloppy":          {nil, odd("0127.000.0.01"), "", "endpoint skipped: 127.0.0.1" + special},
		"loopback IPv6":             {both, v6("::1"), "", "endpoint skipped: ::1" + special},
		"link-local":                {nil, odd("169.254.169.254"), "", "endpoint skipped: 169.254.169.254" + special},
		"link-local IPv6":           {both, v6("fe80::1"), "", "endpoint skipped: fe80::1" + special},
		"unspecified":               {nil, odd("0.0.0.0"), "", "endpoint skipped: 0.0.0.0" + special},
		"multicast":                 {nil, odd("224.0.0.1"), "", "endpoint skipped: 224.0.0.1" + special},
		"name":                      {nil, odd("example.com"), "", `endpoint skipped: "example.com" is not an IP address`},
		"empty":                     {nil, odd(""), "", `endpoint skipped: "" is not an IP address`},
		"zone":                      {both, v6("fd00::1%eth0"), "", `endpoint skipped: "fd00::1%eth0" must have no zone`},
		"IPv4 in an IPv6 slice":     {both, v6("10.0.0.9"), "", "endpoint skipped: 10.0.0.9 is no IPv6 address; put it into a slice of its own addressType"},
		"IPv6 in an IPv4 slice":     {nil, odd("fd00::9"), "", "endpoint skipped: fd00::9 is no IPv4 address; put it into a slice of its own addressType"},
		"S6 port without number":    {nil, oddPort(nil), "", number},
		"S6 port 0":                 {nil, oddPort(&zero), "", number},
		"S6 port 70000":             {nil, oddPort(&big), "", number},
		"Service port 70000":        {Web().Port("bad", 70000), nil, "Service default/web", `port "bad" skipped: TCP 70000 (node port 0) must be TCP, UDP or SCTP and within 1-65535`},
		"Service node port -1":      {Web().Port("bad", 81).NodePort(-1), nil, "Service default/web", `port "bad" skipped: TCP 81 (node port -1) must be TCP, UDP or SCTP and within 1-65535`},
		"Service protocol":          {Web().Port("bad", 81).Protocol("ICMP"), nil, "Service default/web", `port "bad" skipped: ICMP 81 (node port 0) must be TCP, UDP or SCTP and within 1-65535`},
		"cluster IP":                {Web().IP("172.30.0.41", "fd00::x"), nil, "Service default/web", `cluster IP skipped: "fd00::x" is not an IP address`},
		"cluster IP is loopback":    {Web().IP("172.30.0.41", "::1"), nil, "Service default/web", `cluster IP skipped: ::1 must not be an unspecified, loopback or multicast address`},
		"external IP":               {Web().ExternalIPs("1.2.3"), nil, "Service default/web", `entry of spec.externalIPs skipped: "1.2.3" is not an IP address`},
		"external IP is loopback":   {Web().ExternalIPs("127.0.0.1"), nil, "Service default/web", `entry of spec.externalIPs skipped: 127.0.0.1 must not be an unspecified, loopback or multicast address`},
		"load balancer's address":   {Web().LoadBalancer("0.0.0.0"), nil, "Service default/web", `entry of status.loadBalancer.ingress skipped: 0.0.0.0 must not be an unspecified, loopback or multicast address`},
		"source without length":     {Web().LoadBalancer("1.2.3.4").Sources("10.0.0.1"), nil, "Service default/web", `entry of spec.loadBalancerSourceRanges skipped: "10.0.0.1" is not a CIDR; write for example 192.0.2.0/24`},
		"source of odd length":      {Web().LoadBalancer("1.2.3.4").Sources("10.0.0.0/33"), nil, "Service default/web", `entry of spec.loadBalancerSourceRanges skipped: "10.0.0.0/33" is not a CIDR; write for example 192.0.2.0/24`},
		"source mapped":             {Web().LoadBalancer("1.2.3.4").Sources("::ffff:10.0.0.0/8"), nil, "Service default/web", `entry of spec.loadBalancerSourceRanges skipped: "::ffff:10.0.0.0/8" must not map IPv4 into IPv6; write for example 192.0.2.0/24`},
		"source malformed, next /0": {Web().LoadBalancer("1.2.3.4").Sources("0.0.0.0/0", "x/8"), nil, "Service default/web", `entry of spec.loadBalancerSourceRanges skipped: "x" is not an IP address; write for example 192.0.2.0/24`},
	} {
		t.Run(name, func(t *testing.T) {
			slices := []*SliceBuilder{WebSlice().Ready(Ep(1), Here)}
			if c.slice != nil {
				slices = append(slices, c.slice)
			}
			if c.service == nil {
				c.service = Web()
			}
			if c.object == "" {
				c.object = "EndpointSlice default/odd"
			}
			compiled := compile.Service(Input(c.service, slices...))
			if diff := cmp.Diff([]compile.Problem{{Object: c.object, Message: c.message}}, compiled.Problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"10.0.0.1"}, States(compiled)); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
			if ports := Specs(compiled, corev1.IPv4Protocol)[0].Ports; len(ports) != 1 {
				t.Errorf("ports: %v", ports)
			}
		})
	}
}

// A Service whose only address is malformed has a problem and no slices.
func TestNoUsableClusterIP(t *testing.T) {
	compiled := compile.Service(Input(Web().IP("nonsense")))
	want := compile.Result{Problems: []compile.Problem{{Object: "Service default/web", Message: `cluster IP skipped: "nonsense" is not an IP address`}}}
	if diff := cmp.Diff(want, compiled); diff != "" {
		t.Errorf("compiled (-want +got):\n%s", diff)
	}
}

// The list of problems is bounded, and each problem is in it once, however many ports and
// families have it.
func TestManyProblems(t *testing.T) {
	s := Slice("web").Port("http", 80).Port("admin", 81)
	for i := range 30 {
		s.Ready(fmt.Sprintf("127.0.0.%d", i+10), Here)
	}
	problems := compile.Service(Input(Service("web").Port("http", 80).Port("admin", 81), s)).Problems
	if len(problems) != 11 {
		t.Fatalf("%d problems", len(problems))
	}
	if diff := cmp.Diff(compile.Problem{Object: "EndpointSlice default/web-1", Message: "20 more problems"}, problems[10]); diff != "" {
		t.Errorf("last (-want +got):\n%s", diff)
	}
	s.Endpoints = s.Endpoints[:10]
	if ten := compile.Service(Input(Web(), s)).Problems; len(ten) != 10 {
		t.Errorf("of ten: %v", ten)
	}
	two := compile.Service(Input(Web().IP("172.30.0.41", "fd00:30::41").ExternalIPs("bad"))).Problems
	if len(two) != 1 {
		t.Errorf("of both families: %v", two)
	}
}

// TestProblemsAreSorted checks that problems are sorted by object, then by text.
func TestProblemsAreSorted(t *testing.T) {
	var got []string
	for _, p := range compile.Service(Input(Web().ExternalIPs("bad"), Slice("web").Named("odd").Port("http", 0), Slice("web").Named("even").Port("http", 0))).Problems {
		got = append(got, p.Object)
	}
	if diff := cmp.Diff([]string{"EndpointSlice default/even", "EndpointSlice default/odd", "Service default/web"}, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}
