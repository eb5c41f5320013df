// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rulestest builds Services, EndpointSlices and rules for the tests of rules, which
// import it with a dot.
package rulestest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// The nodes of the cases: ThisNode, and another one.
const (
	Here  = "test-node"
	There = "other-node"
)

// ServiceBuilder builds a Service. Calls that concern a port amend the last one. Each
// returns the builder, if it has nothing else to return.
type ServiceBuilder struct{ *corev1.Service }

// Service returns a Service default/name of type ClusterIP with address
// 172.30.0.41 and no ports.
func Service(name string) *ServiceBuilder {
	return (&ServiceBuilder{&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP},
	}}).IP("172.30.0.41")
}

// Created sets when the Service was created, in seconds since 1970.
func (b *ServiceBuilder) Created(seconds int64) *ServiceBuilder {
	b.CreationTimestamp = metav1.Unix(seconds, 0)
	return b
}

// IP sets the cluster IPs, the primary one first.
func (b *ServiceBuilder) IP(addresses ...string) *ServiceBuilder {
	b.Spec.ClusterIP, b.Spec.ClusterIPs = addresses[0], addresses
	return b
}

// Port adds a port of TCP, which the calls that concern a port amend.
func (b *ServiceBuilder) Port(name string, number int32) *ServiceBuilder {
	b.Spec.Ports = append(b.Spec.Ports, corev1.ServicePort{Name: name, Protocol: corev1.ProtocolTCP, Port: number})
	return b
}

// Last returns the port that was added last.
func (b *ServiceBuilder) Last() *corev1.ServicePort { return &b.Spec.Ports[len(b.Spec.Ports)-1] }

// Protocol sets the protocol of the last port.
func (b *ServiceBuilder) Protocol(p corev1.Protocol) *ServiceBuilder {
	b.Last().Protocol = p
	return b
}

// NodePort gives the last port a node port, and a Service of type ClusterIP the type NodePort.
func (b *ServiceBuilder) NodePort(number int32) *ServiceBuilder {
	b.Last().NodePort = number
	if b.Spec.Type == corev1.ServiceTypeClusterIP {
		b.Spec.Type = corev1.ServiceTypeNodePort
	}
	return b
}

// Kind sets the type of the Service.
func (b *ServiceBuilder) Kind(t corev1.ServiceType) *ServiceBuilder {
	b.Spec.Type = t
	return b
}

// Label sets a label of the Service.
func (b *ServiceBuilder) Label(key, value string) *ServiceBuilder {
	metav1.SetMetaDataLabel(&b.ObjectMeta, key, value)
	return b
}

// ExternalIPs sets the external IPs.
func (b *ServiceBuilder) ExternalIPs(addresses ...string) *ServiceBuilder {
	b.Spec.ExternalIPs = addresses
	return b
}

// Ingress adds an entry to the load balancer's status.
func (b *ServiceBuilder) Ingress(entries ...corev1.LoadBalancerIngress) *ServiceBuilder {
	b.Spec.Type = corev1.ServiceTypeLoadBalancer
	b.Status.LoadBalancer.Ingress = append(b.Status.LoadBalancer.Ingress, entries...)
	return b
}

// LoadBalancer adds addresses to the load balancer's status, without an IP mode.
func (b *ServiceBuilder) LoadBalancer(addresses ...string) *ServiceBuilder {
	for _, a := range addresses {
		b.Ingress(corev1.LoadBalancerIngress{IP: a})
	}
	return b
}

// Sources sets the source ranges of the load balancer.
func (b *ServiceBuilder) Sources(cidrs ...string) *ServiceBuilder {
	b.Spec.LoadBalancerSourceRanges = cidrs
	return b
}

// ExternalLocal sets the external traffic policy Local.
func (b *ServiceBuilder) ExternalLocal() *ServiceBuilder {
	b.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	return b
}

// InternalLocal sets the internal traffic policy Local.
func (b *ServiceBuilder) InternalLocal() *ServiceBuilder {
	local := corev1.ServiceInternalTrafficPolicyLocal
	b.Spec.InternalTrafficPolicy = &local
	return b
}

// Affinity sets client affinity; 0 leaves the timeout to the default.
func (b *ServiceBuilder) Affinity(seconds int32) *ServiceBuilder {
	b.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	if seconds != 0 {
		b.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
	return b
}

// SliceBuilder builds an EndpointSlice. Hints amend the last endpoint.
type SliceBuilder struct{ *discoveryv1.EndpointSlice }

// Slice returns the EndpointSlice default/service-1 of a Service, IPv4, with
// neither ports nor endpoints.
func Slice(service string) *SliceBuilder {
	return &SliceBuilder{&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: service + "-1",
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}}
}

// Named sets the name of the EndpointSlice.
func (b *SliceBuilder) Named(name string) *SliceBuilder {
	b.Name = name
	return b
}

// Kind sets the address type.
func (b *SliceBuilder) Kind(t discoveryv1.AddressType) *SliceBuilder {
	b.AddressType = t
	return b
}

// Label sets a label of the EndpointSlice.
func (b *SliceBuilder) Label(key, value string) *SliceBuilder {
	b.Labels[key] = value
	return b
}

// Port adds a port, whose protocol is not set.
func (b *SliceBuilder) Port(name string, number int32) *SliceBuilder {
	return b.RawPort(discoveryv1.EndpointPort{Name: &name, Port: &number})
}

// Protocol sets the protocol of the last port.
func (b *SliceBuilder) Protocol(p corev1.Protocol) *SliceBuilder {
	b.Ports[len(b.Ports)-1].Protocol = &p
	return b
}

// RawPort adds a port of which every field may be missing.
func (b *SliceBuilder) RawPort(p discoveryv1.EndpointPort) *SliceBuilder {
	b.Ports = append(b.Ports, p)
	return b
}

// Endpoint adds an endpoint with all its conditions; an empty node: it is not known.
func (b *SliceBuilder) Endpoint(address, node string, ready, serving, terminating bool) *SliceBuilder {
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

// Ready adds an endpoint that is ready and serving.
func (b *SliceBuilder) Ready(address, node string) *SliceBuilder {
	return b.Endpoint(address, node, true, true, false)
}

// Terminating adds an endpoint that is terminating and still serving.
func (b *SliceBuilder) Terminating(address, node string) *SliceBuilder {
	return b.Endpoint(address, node, false, true, true)
}

// Unready adds an endpoint that is not ready and not serving.
func (b *SliceBuilder) Unready(address, node string) *SliceBuilder {
	return b.Endpoint(address, node, false, false, false)
}

// Hints returns the hints of the last endpoint, to be amended.
func (b *SliceBuilder) Hints() *discoveryv1.EndpointHints {
	e := &b.Endpoints[len(b.Endpoints)-1]
	if e.Hints == nil {
		e.Hints = &discoveryv1.EndpointHints{}
	}
	return e.Hints
}

// ForZones adds zones to the hints of the last endpoint.
func (b *SliceBuilder) ForZones(zones ...string) *SliceBuilder {
	for _, z := range zones {
		b.Hints().ForZones = append(b.Hints().ForZones, discoveryv1.ForZone{Name: z})
	}
	return b
}

// ForNodes adds nodes to the hints of the last endpoint.
func (b *SliceBuilder) ForNodes(nodes ...string) *SliceBuilder {
	for _, n := range nodes {
		b.Hints().ForNodes = append(b.Hints().ForNodes, discoveryv1.ForNode{Name: n})
	}
	return b
}

// Input joins a Service and its EndpointSlices.
func Input(s *ServiceBuilder, slices ...*SliceBuilder) compile.Input {
	in := compile.Input{Service: s.Service}
	for _, b := range slices {
		in.EndpointSlices = append(in.EndpointSlices, b.EndpointSlice)
	}
	return in
}

// NodeBuilder builds a node and its policy.
type NodeBuilder struct{ resolve.Node }

// ThisNode knows Pods by the cluster's CIDRs, answers node ports on its primary addresses,
// and allows external IPs.
func ThisNode() *NodeBuilder {
	b := &NodeBuilder{resolve.Node{Name: Here}}
	b.Spec.Node.Addresses = []string{"192.168.0.2", "192.168.1.2", "192.168.99.11", "2001:db8::2"}
	b.Spec.LocalTraffic = v1alpha1.LocalTrafficOptions{
		Detect:       v1alpha1.DetectClusterCIDR,
		ClusterCIDRs: []string{"10.0.0.0/8", "fd00:10::/32"},
	}
	b.Spec.NodePort.Addresses = []string{v1alpha1.NodePortPrimary}
	b.Spec.ExternalIPs.Policy = v1alpha1.ExternalIPAllow
	return b
}

// Named sets the name of the node.
func (b *NodeBuilder) Named(name string) *NodeBuilder {
	b.Name = name
	return b
}

// Zone sets the zone of the node.
func (b *NodeBuilder) Zone(z string) *NodeBuilder {
	b.Spec.Node.Zone = z
	return b
}

// MasqueradeAll masquerades all traffic to cluster IPs.
func (b *NodeBuilder) MasqueradeAll() *NodeBuilder {
	yes := true
	b.Spec.Masquerade.All = &yes
	return b
}

// NoDetector removes every way to detect the node's Pods.
func (b *NodeBuilder) NoDetector() *NodeBuilder {
	b.Spec.LocalTraffic = v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectNodeCIDR}
	return b
}

// NodePorts sets on which addresses the node answers node ports: keywords, CIDRs.
func (b *NodeBuilder) NodePorts(addresses ...string) *NodeBuilder {
	b.Spec.NodePort.Addresses = addresses
	return b
}

// NodePortSources sets the clients that may use node ports.
func (b *NodeBuilder) NodePortSources(cidrs ...string) *NodeBuilder {
	b.Spec.NodePort.SourceRanges = cidrs
	return b
}

// Affinity sets the session affinity of the policy.
func (b *NodeBuilder) Affinity(policy v1alpha1.AffinityPolicy, seconds int32) *NodeBuilder {
	b.Spec.SessionAffinity = v1alpha1.SessionAffinityOptions{Policy: policy, TimeoutSeconds: seconds}
	return b
}

// Specs are the specs of compiled slices of one family.
func Specs(c compile.Result, family corev1.IPFamily) []*v1alpha1.ServiceRuleSliceSpec {
	var out []*v1alpha1.ServiceRuleSliceSpec
	for i := range c.Slices {
		if c.Slices[i].Spec.AddressFamily == family {
			out = append(out, &c.Slices[i].Spec)
		}
	}
	return out
}

// TableOf compiles Services, resolves them on a node and fills a table.
func TableOf(t testing.TB, node resolve.Node, inputs ...compile.Input) *resolve.Table {
	t.Helper()
	table := resolve.NewTable()
	settings, err := resolve.Settings(node.Spec)
	if err != nil {
		t.Fatalf("settings: %v", err)
	}
	table.SetNode(settings)
	for _, in := range inputs {
		compiled := compile.Service(in)
		for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
			id := model.ServiceID{Namespace: in.Service.Namespace, Name: in.Service.Name, Family: family}
			resolved, err := resolve.Service(node, id, Specs(compiled, family))
			if err != nil {
				t.Fatalf("resolve %s: %v", id, err)
			}
			table.Set(id, resolved)
		}
	}
	return table
}

// Addr parses an address.
func Addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// Endpoint parses an address with a port.
func Endpoint(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// ByValue compares addresses by ==: they have unexported fields.
var ByValue = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}),
	cmpopts.EquateEmpty(),
}

// WebID is the ID of the Service that Web builds.
var WebID = model.ServiceID{Namespace: "default", Name: "web", Family: corev1.IPv4Protocol}

// Many adds n ready endpoints, 10.1.0.0 and up.
func Many(s *SliceBuilder, n int) *SliceBuilder {
	for i := range n {
		s.Ready(fmt.Sprintf("10.1.%d.%d", i/256, i%256), Here)
	}
	return s
}

// Ingress is an entry of a load balancer's status.
func Ingress(ip string, mode corev1.LoadBalancerIPMode) corev1.LoadBalancerIngress {
	return corev1.LoadBalancerIngress{IP: ip, IPMode: &mode}
}

// Ep returns endpoint n of the topology cases: 10.0.0.n.
func Ep(n int) string { return fmt.Sprintf("10.0.0.%d", n) }

// Endpoints of the cases: L is local, R is remote.
const (
	L1 = "10.180.0.1"
	L2 = "10.180.0.2"
	R1 = "10.180.1.1"
	R2 = "10.180.1.2"
)

// Web is a Service 172.30.0.41:80 with endpoints on port 80.
func Web() *ServiceBuilder { return Service("web").Port("http", 80) }

// WebSlice is the EndpointSlice of Web, with port 80 and without endpoints.
func WebSlice() *SliceBuilder { return Slice("web").Port("http", 80) }

// One is a list of one Service, for the tables of cases.
func One(i compile.Input) []compile.Input { return []compile.Input{i} }

// States returns the IPv4 endpoints with their states, if not Ready.
func States(c compile.Result) []string {
	var out []string
	for _, spec := range Specs(c, corev1.IPv4Protocol) {
		for _, e := range spec.Endpoints {
			out = append(out, strings.TrimSpace(e.Address+" "+string(e.State)))
		}
	}
	return out
}
