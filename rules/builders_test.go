// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// The fixture of the cases: a node with three addresses, and another node.
const (
	here  = "test-node"
	there = "other-node"
)

// serviceBuilder builds a Service; calls that concern a port amend the last one.
type serviceBuilder struct{ *corev1.Service }

// svc returns a Service default/name of type ClusterIP with address
// 172.30.0.41 and no ports.
func svc(name string) *serviceBuilder {
	return (&serviceBuilder{&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP},
	}}).ip("172.30.0.41")
}

func (b *serviceBuilder) ip(addresses ...string) *serviceBuilder {
	b.Spec.ClusterIP, b.Spec.ClusterIPs = addresses[0], addresses
	return b
}

func (b *serviceBuilder) port(name string, number int32) *serviceBuilder {
	b.Spec.Ports = append(b.Spec.Ports, corev1.ServicePort{Name: name, Protocol: corev1.ProtocolTCP, Port: number})
	return b
}

func (b *serviceBuilder) last() *corev1.ServicePort { return &b.Spec.Ports[len(b.Spec.Ports)-1] }

func (b *serviceBuilder) protocol(p corev1.Protocol) *serviceBuilder {
	b.last().Protocol = p
	return b
}

func (b *serviceBuilder) nodePort(number int32) *serviceBuilder {
	b.last().NodePort = number
	if b.Spec.Type == corev1.ServiceTypeClusterIP {
		b.Spec.Type = corev1.ServiceTypeNodePort
	}
	return b
}

func (b *serviceBuilder) kind(t corev1.ServiceType) *serviceBuilder {
	b.Spec.Type = t
	return b
}

func (b *serviceBuilder) label(key, value string) *serviceBuilder {
	metav1.SetMetaDataLabel(&b.ObjectMeta, key, value)
	return b
}

func (b *serviceBuilder) externalIPs(addresses ...string) *serviceBuilder {
	b.Spec.ExternalIPs = addresses
	return b
}

// ingress adds an entry to the load balancer's status.
func (b *serviceBuilder) ingress(entries ...corev1.LoadBalancerIngress) *serviceBuilder {
	b.Spec.Type = corev1.ServiceTypeLoadBalancer
	b.Status.LoadBalancer.Ingress = append(b.Status.LoadBalancer.Ingress, entries...)
	return b
}

func (b *serviceBuilder) loadBalancer(addresses ...string) *serviceBuilder {
	for _, a := range addresses {
		b.ingress(corev1.LoadBalancerIngress{IP: a})
	}
	return b
}

func (b *serviceBuilder) sources(cidrs ...string) *serviceBuilder {
	b.Spec.LoadBalancerSourceRanges = cidrs
	return b
}

func (b *serviceBuilder) externalLocal() *serviceBuilder {
	b.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	return b
}

func (b *serviceBuilder) internalLocal() *serviceBuilder {
	local := corev1.ServiceInternalTrafficPolicyLocal
	b.Spec.InternalTrafficPolicy = &local
	return b
}

// affinity sets client affinity; 0 leaves the timeout to the default.
func (b *serviceBuilder) affinity(seconds int32) *serviceBuilder {
	b.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	if seconds != 0 {
		b.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
	return b
}

// sliceBuilder builds an EndpointSlice; hints amend the last endpoint.
type sliceBuilder struct{ *discoveryv1.EndpointSlice }

// slice returns the EndpointSlice default/service-1 of a Service, IPv4, with
// neither ports nor endpoints.
func slice(service string) *sliceBuilder {
	return &sliceBuilder{&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: service + "-1",
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}}
}

func (b *sliceBuilder) named(name string) *sliceBuilder {
	b.Name = name
	return b
}

func (b *sliceBuilder) kind(t discoveryv1.AddressType) *sliceBuilder {
	b.AddressType = t
	return b
}

func (b *sliceBuilder) label(key, value string) *sliceBuilder {
	b.Labels[key] = value
	return b
}

func (b *sliceBuilder) port(name string, number int32) *sliceBuilder {
	return b.rawPort(discoveryv1.EndpointPort{Name: &name, Port: &number})
}

func (b *sliceBuilder) protocol(p corev1.Protocol) *sliceBuilder {
	b.Ports[len(b.Ports)-1].Protocol = &p
	return b
}

func (b *sliceBuilder) rawPort(p discoveryv1.EndpointPort) *sliceBuilder {
	b.Ports = append(b.Ports, p)
	return b
}

func (b *sliceBuilder) endpoint(address, node string, ready, serving, terminating bool) *sliceBuilder {
	e := discoveryv1.Endpoint{
		Addresses:  []string{address},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
	}
	if node != "" {
		e.NodeName = &node
	}
	b.Endpoints = append(b.Endpoints, e)
	return b
}

func (b *sliceBuilder) ready(address, node string) *sliceBuilder {
	return b.endpoint(address, node, true, true, false)
}

// terminating adds an endpoint that is terminating and still serving.
func (b *sliceBuilder) terminating(address, node string) *sliceBuilder {
	return b.endpoint(address, node, false, true, true)
}

// unready adds an endpoint that serves nobody.
func (b *sliceBuilder) unready(address, node string) *sliceBuilder {
	return b.endpoint(address, node, false, false, false)
}

func (b *sliceBuilder) hints() *discoveryv1.EndpointHints {
	e := &b.Endpoints[len(b.Endpoints)-1]
	if e.Hints == nil {
		e.Hints = &discoveryv1.EndpointHints{}
	}
	return e.Hints
}

func (b *sliceBuilder) forZones(zones ...string) *sliceBuilder {
	for _, z := range zones {
		b.hints().ForZones = append(b.hints().ForZones, discoveryv1.ForZone{Name: z})
	}
	return b
}

func (b *sliceBuilder) forNodes(nodes ...string) *sliceBuilder {
	for _, n := range nodes {
		b.hints().ForNodes = append(b.hints().ForNodes, discoveryv1.ForNode{Name: n})
	}
	return b
}

// input joins a Service and its EndpointSlices.
func input(s *serviceBuilder, slices ...*sliceBuilder) CompileInput {
	in := CompileInput{Service: s.Service}
	for _, b := range slices {
		in.EndpointSlices = append(in.EndpointSlices, b.EndpointSlice)
	}
	return in
}

// nodeBuilder builds the fixture's node.
type nodeBuilder struct{ Node }

// thisNode knows Pods by the cluster's CIDRs and answers node ports on its
// primary addresses.
func thisNode() *nodeBuilder {
	b := &nodeBuilder{Node{Name: here}}
	b.Spec.Node.Addresses = []string{"192.168.0.2", "192.168.1.2", "192.168.99.11", "2001:db8::2"}
	b.Spec.LocalTraffic = v1alpha1.LocalTrafficOptions{
		Detect:       v1alpha1.DetectClusterCIDR,
		ClusterCIDRs: []string{"10.0.0.0/8", "fd00:10::/32"},
	}
	b.Spec.NodePort.Addresses = []string{v1alpha1.NodePortPrimary}
	return b
}

func (b *nodeBuilder) named(name string) *nodeBuilder {
	b.Name = name
	return b
}

func (b *nodeBuilder) zone(z string) *nodeBuilder {
	b.Spec.Node.Zone = z
	return b
}

func (b *nodeBuilder) masqueradeAll() *nodeBuilder {
	yes := true
	b.Spec.Masquerade.All = &yes
	return b
}

// noDetector takes away every way to know the node's Pods.
func (b *nodeBuilder) noDetector() *nodeBuilder {
	b.Spec.LocalTraffic = v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectNodeCIDR}
	return b
}

func (b *nodeBuilder) nodePorts(addresses ...string) *nodeBuilder {
	b.Spec.NodePort.Addresses = addresses
	return b
}

func (b *nodeBuilder) affinity(policy v1alpha1.AffinityPolicy, seconds int32) *nodeBuilder {
	b.Spec.SessionAffinity = v1alpha1.SessionAffinityOptions{Policy: policy, TimeoutSeconds: seconds}
	return b
}

// specs are the specs of compiled slices of one family.
func specs(c Compiled, family corev1.IPFamily) []*v1alpha1.ServiceRuleSliceSpec {
	var out []*v1alpha1.ServiceRuleSliceSpec
	for i := range c.Slices {
		if c.Slices[i].Spec.AddressFamily == family {
			out = append(out, &c.Slices[i].Spec)
		}
	}
	return out
}

// tableOf compiles Services, resolves them on a node and fills a table.
func tableOf(t testing.TB, node Node, inputs ...CompileInput) *Table {
	t.Helper()
	table := NewTable()
	settings, err := Settings(node.Spec)
	if err != nil {
		t.Fatalf("settings: %v", err)
	}
	table.SetNode(settings)
	for _, in := range inputs {
		compiled := Compile(in)
		for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
			id := ServiceID{in.Service.Namespace, in.Service.Name, family}
			resolved, err := Resolve(node, id, specs(compiled, family))
			if err != nil {
				t.Fatalf("resolve %s: %v", id, err)
			}
			table.Set(id, resolved)
		}
	}
	return table
}

func addr(s string) netip.Addr         { return netip.MustParseAddr(s) }
func endpoint(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
