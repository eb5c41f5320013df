// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
)

// numbered returns n addresses of a /16, in descending order.
func numbered(prefix string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s.%d.%d", prefix, i>>8, i&255))
	}
	slices.Reverse(out)
	return out
}

// TestBounds compiles larger and larger Services. The size of the slices stays within what
// nodes can program.
func TestBounds(t *testing.T) {
	type size struct{ Ports, Balancers, External, Sources int }
	const product = "addresses x ports (x source ranges) are more than nodes program for one Service; use fewer addresses, ports or ranges, or several Services"
	for name, c := range map[string]struct {
		service, want size
		problems      []string
	}{
		"at the bound":        {size{4, 0, 256, 0}, size{4, 0, 256, 0}, nil},
		"one port":            {size{1, 0, 1024, 0}, size{1, 0, 1024, 0}, nil},
		"more external IPs":   {size{100, 0, 256, 0}, size{100, 0, 10, 0}, []string{"246 of 256 IPv4 addresses of spec.externalIPs skipped: " + product}},
		"balancers first":     {size{100, 4, 256, 0}, size{100, 4, 6, 0}, []string{"250 of 256 IPv4 addresses of spec.externalIPs skipped: " + product}},
		"more balancers":      {size{512, 3, 1, 0}, size{512, 2, 0, 0}, []string{"1 of 1 IPv4 addresses of spec.externalIPs skipped: " + product, "1 of 3 IPv4 addresses of status.loadBalancer.ingress skipped: " + product}},
		"one address is kept": {size{2000, 2, 0, 0}, size{2000, 1, 0, 0}, []string{"1 of 2 IPv4 addresses of status.loadBalancer.ingress skipped: " + product}},
		"one external IP":     {size{2000, 0, 2, 0}, size{2000, 0, 1, 0}, []string{"1 of 2 IPv4 addresses of spec.externalIPs skipped: " + product}},
		"source ranges":       {size{10, 6, 1, 1000}, size{10, 6, 1, 1000}, nil},
		"more source ranges":  {size{1, 1, 0, 1200}, size{1, 1, 0, 1000}, []string{"200 of 1200 IPv4 entries of spec.loadBalancerSourceRanges skipped: at most 1000 count, and clients in the others are dropped; write wider ranges"}},
		"ranges by balancers": {size{10, 8, 1, 1000}, size{10, 6, 1, 1000}, []string{"2 of 8 IPv4 addresses of status.loadBalancer.ingress skipped: " + product}},
		"as many ports":       {size{10_000, 0, 1, 0}, size{10_000, 0, 1, 0}, nil},
		"ranges at the bound": {size{64, 4, 0, 256}, size{64, 4, 0, 256}, nil},
		"balancers, a range":  {size{512, 3, 0, 1}, size{512, 2, 0, 1}, []string{"1 of 3 IPv4 addresses of status.loadBalancer.ingress skipped: " + product}},
		"more ports":          {size{10_001, 0, 1, 0}, size{10_000, 0, 1, 0}, []string{"1 ports skipped: a Service has at most 10000; use several Services"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := Service("web").ExternalIPs(numbered("5.5", c.service.External)...).LoadBalancer(numbered("4.4", c.service.Balancers)...)
			for i := range c.service.Ports {
				s.Port(fmt.Sprint("p", i), int32(i+1))
			}
			var sources []string
			for _, a := range numbered("203.113", c.service.Sources) {
				sources = append(sources, a+"/32")
			}
			s.Sources(sources...)
			compiled := compile.Service(Input(s))
			spec := Specs(compiled, corev1.IPv4Protocol)[0]
			got := size{Ports: len(spec.Ports), Balancers: len(spec.LoadBalancerIPs), External: len(spec.ExternalIPs)}
			if spec.LoadBalancerSources != nil {
				got.Sources = len(spec.LoadBalancerSources.Allowed)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("size (-want +got):\n%s", diff)
			}
			if spec.ClusterIP == "" || spec.Ports[0].Port != 1 {
				t.Errorf("the cluster IP %q has the ports %v", spec.ClusterIP, spec.Ports[:1])
			}
			if len(spec.ExternalIPs) > 0 && spec.ExternalIPs[0] != "5.5.0.0" || len(spec.LoadBalancerIPs) > 0 && spec.LoadBalancerIPs[0] != "4.4.0.0" {
				t.Errorf("kept are %v and %v, want the first ones", spec.LoadBalancerIPs[:1], spec.ExternalIPs[:1])
			}
			var messages []string
			for _, p := range compiled.Problems {
				messages = append(messages, p.Message)
				if p.Object != "Service default/web" {
					t.Errorf("a problem of %s", p.Object)
				}
			}
			if diff := cmp.Diff(c.problems, messages); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPartsOfManyPorts checks that endpoints with many ports are spread over more
// parts, so that none becomes too large for the apiserver.
func TestPartsOfManyPorts(t *testing.T) {
	const ports, endpoints = 1000, 300
	s, e := Service("web"), Slice("web")
	for i := range ports {
		s.Port(fmt.Sprint("p", i), int32(i+1))
		e.Port(fmt.Sprint("p", i), int32(i+1))
	}
	for _, a := range numbered("10.180", endpoints) {
		e.Ready(a, Here)
	}
	found := 0
	for _, spec := range Specs(compile.Service(Input(s, e)), corev1.IPv4Protocol) {
		found += len(spec.Endpoints)
		if n := len(spec.Endpoints) * ports; n > 60_000 {
			t.Errorf("part %d of %d has %d target ports", spec.Part, spec.Parts, n)
		}
	}
	if found != endpoints {
		t.Errorf("the parts have %d endpoints, want %d", found, endpoints)
	}
}

func TestManyNodeAddresses(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	for _, a := range numbered("198.18", 300) {
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: a})
	}
	node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "192.0.2.1"})
	spec, problems := compile.Node(compile.NodeInput{Node: node, Config: &v1alpha1.ProxyConfig{}})
	if got := spec.Node.Addresses; len(got) != 256 || got[0] != "192.0.2.1" {
		t.Errorf("got %d addresses, the first is %s", len(got), got[0])
	}
	node.Status.Addresses = node.Status.Addresses[45:]
	if _, problems := compile.Node(compile.NodeInput{Node: node, Config: &v1alpha1.ProxyConfig{}}); len(problems) > 0 {
		t.Errorf("256 addresses: %v", problems)
	}
	want := []compile.Problem{{Object: "Node n1", Message: "45 addresses skipped: at most 256 count, the internal ones first"}}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
