// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rulestest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// SeedFlag repeats a failure of EverySeed.
var SeedFlag = flag.Uint64("seed", 0, "run the property tests with this seed only")

// EverySeed runs a property with random seeds; a failure names its seed.
func EverySeed(t *testing.T, runs int, property func(t *testing.T, r *Random)) {
	t.Helper()
	seed := *SeedFlag
	defer func() {
		if t.Failed() {
			t.Logf("again with: go test ./rules/... -run %s -seed %d", t.Name(), seed)
		}
	}()
	for range runs {
		if *SeedFlag == 0 {
			seed = rand.Uint64()
		}
		if property(t, NewRandom(seed)); t.Failed() || *SeedFlag != 0 {
			return
		}
	}
}

// Random makes objects from few values, so that they often coincide.
type Random struct{ *rand.Rand }

// NewRandom returns the Random of a seed.
func NewRandom(seed uint64) *Random { return &Random{rand.New(rand.NewPCG(seed, 0))} }

// Chance is true in so many percent of the calls.
func (r *Random) Chance(percent int) bool { return r.IntN(100) < percent }

// Pick returns one of the values.
func Pick[T any](r *Random, values ...T) T { return values[r.IntN(len(values))] }

// Some returns up to n of the values, with repetitions.
func Some[T any](r *Random, n int, values ...T) []T {
	var out []T
	for range r.IntN(n + 1) {
		out = append(out, Pick(r, values...))
	}
	return out
}

// Shuffle reorders the values in place.
func Shuffle[T any](r *Random, values []T) {
	r.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
}

// Texts of addresses, valid and invalid.
var (
	FrontendTexts = []string{
		"1.2.3.4", "01.02.03.04", "5.6.7.8", "192.168.99.11", "172.30.0.41", "2001:db8::4", "2001:DB8::0004",
		"127.0.0.1", "::ffff:1.2.3.4", "0.0.0.0", "nonsense", "",
	}
	EndpointTexts = []string{
		"10.0.0.1", "10.0.0.2", "010.0.0.3", "10.0.0.4", "fd00::1", "fd00::2", "fd00::0003", "127.0.0.1", "169.254.1.1", "::", "::1", "example.com", "fe80::1%e0",
	}
	SourceTexts = []string{"0.0.0.0/0", "::/0", "203.0.113.0/25", " 192.168.0.0/24", "10.0.0.7/08", "2001:db8::/32", "10.0.0.0", "x/8"}
	PortNames   = []string{"http", "admin", ""}
	Protocols   = []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
	NodeNames   = []string{Here, There, "third"}
	ZoneNames   = []string{"a", "b", "c"}
)

// Service makes a Service default/name, now and then one that is not proxied.
func (r *Random) Service(name string) *ServiceBuilder {
	b := Service(name).IP(Pick(r, "172.30.0.41", "172.30.0.42", "172.030.0.43", "None", "", "fd00:30::41"))
	if r.Chance(40) {
		b.IP("172.30.0.41", "fd00:30::41")
	}
	if r.Chance(50) {
		b.Created(Pick(r, int64(1), 2))
	}
	for i, n := range PortNames[:r.IntN(len(PortNames)+1)] {
		b.Port(n, Pick(r, int32(80), 81, 443)+int32(i)*1000).Protocol(Pick(r, Protocols...))
		if r.Chance(50) {
			b.NodePort(Pick(r, int32(3001), 3002, 3003))
		}
	}
	b.ExternalIPs(Some(r, 3, FrontendTexts...)...)
	for _, ip := range Some(r, 3, FrontendTexts...) {
		b.Ingress(Ingress(ip, Pick(r, corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeProxy)))
	}
	b.Sources(Some(r, 3, SourceTexts...)...)
	if r.Chance(50) {
		b.ExternalLocal()
		b.Spec.HealthCheckNodePort = Pick(r, int32(0), 32100, 32101)
	}
	if r.Chance(50) {
		b.InternalLocal()
	}
	if r.Chance(30) {
		b.Affinity(Pick(r, int32(0), 60))
	}
	if r.Chance(5) {
		b.Label("service.kubernetes.io/service-proxy-name", "other")
	}
	return b
}

// Slices makes EndpointSlices of a Service.
func (r *Random) Slices(service string) []*SliceBuilder {
	var out []*SliceBuilder
	for i := range r.IntN(5) {
		s := Slice(service).Named(fmt.Sprintf("%s-%d", service, i)).Kind(Pick(r, discoveryv1.AddressTypeIPv4,
			discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN))
		for _, n := range PortNames[:r.IntN(len(PortNames)+1)] {
			s.Port(n, Pick(r, int32(8080), 8081, 8080, 8081, 0, 70000)).Protocol(Pick(r, Protocols...))
		}
		for range r.IntN(6) {
			s.Endpoint(Pick(r, EndpointTexts...), Pick(r, append(NodeNames, "")...), r.Chance(50), r.Chance(70), r.Chance(40))
			r.AddHints(s)
		}
		out = append(out, s)
	}
	return out
}

// AddHints often gives the last endpoint hints, of up to two zones and two nodes.
func (r *Random) AddHints(s *SliceBuilder) {
	if r.Chance(80) {
		s.ForZones(Some(r, 2, ZoneNames...)...)
	}
	if r.Chance(80) {
		s.ForNodes(Some(r, 2, NodeNames...)...)
	}
}

// Input makes a Service with EndpointSlices, now and then with a number of parts.
func (r *Random) Input(service string) compile.Input {
	in := Input(r.Service(service), r.Slices(service)...)
	if r.Chance(30) {
		in.Parts = map[corev1.IPFamily]int32{corev1.IPv4Protocol: Pick(r, int32(0), 1, 2, 3), corev1.IPv6Protocol: 2}
	}
	return in
}

// Node makes a node and its policy.
func (r *Random) Node() resolve.Node {
	b := ThisNode().Named(Pick(r, NodeNames...)).Zone(Pick(r, append(ZoneNames, "")...))
	if r.Chance(20) {
		b.NoDetector()
	}
	if r.Chance(20) {
		b.MasqueradeAll()
	}
	if r.Chance(20) {
		b.Affinity(v1alpha1.AffinityClientIP, 30)
	}
	if r.Chance(20) {
		b.NodePortSources(Some(r, 2, "203.0.113.0/25", "10.0.0.0/8", "::/0", "2001:db8::/32")...)
	}
	return b.NodePorts(Pick(r, "Primary", "All", "Localhost", "192.168.0.0/16")).Node
}

// Reordered returns a copy whose lists without a meaning of order are shuffled.
func (r *Random) Reordered(in compile.Input) compile.Input {
	out := compile.Input{Service: in.Service.DeepCopy(), Parts: in.Parts}
	for _, s := range in.EndpointSlices {
		c := s.DeepCopy()
		Shuffle(r, c.Ports)
		Shuffle(r, c.Endpoints)
		for _, e := range c.Endpoints {
			if e.Hints != nil {
				Shuffle(r, e.Hints.ForZones)
				Shuffle(r, e.Hints.ForNodes)
			}
		}
		out.EndpointSlices = append(out.EndpointSlices, c)
	}
	Shuffle(r, out.EndpointSlices)
	Shuffle(r, out.Service.Spec.ExternalIPs)
	Shuffle(r, out.Service.Spec.LoadBalancerSourceRanges)
	Shuffle(r, out.Service.Status.LoadBalancer.Ingress)
	return out
}

// Table fills a table with random Services.
func (r *Random) Table(t *testing.T, node resolve.Node) *resolve.Table {
	t.Helper()
	var inputs []compile.Input
	for _, name := range Some(r, 4, "a", "b", "c", "d") {
		inputs = append(inputs, r.Input(name))
	}
	return TableOf(t, node, inputs...)
}

// byteSource lets the fuzzer steer Random: a byte for each decision, and an ordinary
// generator when the bytes are used up.
type byteSource struct {
	data []byte
	rest *rand.PCG
}

// Uint64 implements rand.Source.
func (s *byteSource) Uint64() uint64 {
	if len(s.data) == 0 {
		return s.rest.Uint64()
	}
	b := s.data[0]
	s.data = s.data[1:]
	return uint64(b) * 0x0101010101010101
}

// Steered returns a Random whose decisions a fuzzer's bytes make.
func Steered(data []byte) *Random { return &Random{rand.New(&byteSource{data, rand.NewPCG(1, 1)})} }

// Seeds are bytes for Steered that a fuzzer starts from.
var Seeds = []string{"", "\x00\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff", "0123456789abcdefghijklmnopqrstuvwxyz", "\x80\x01\x7f\x40\xc0\x20\xe0\x10\xf0"}

// OddSpec makes a slice whose every field may be wrong.
func (r *Random) OddSpec(text string) *v1alpha1.ServiceRuleSliceSpec {
	address := func() string { return Pick(r, append(append([]string{text}, FrontendTexts...), EndpointTexts...)...) }
	number := func() int32 { return Pick(r, int32(80), 8080, 3001, 0, -1, 65535, 65536, 65616, -2147483648) }
	addresses := func() (out []string) {
		for range r.IntN(3) {
			out = append(out, address())
		}
		return out
	}
	spec := &v1alpha1.ServiceRuleSliceSpec{
		AddressFamily: Pick(r, corev1.IPv4Protocol, corev1.IPv4Protocol, corev1.IPv6Protocol, corev1.IPv6Protocol, ""),
		Part:          Pick(r, int32(0), 0, 1, -1), Parts: number(),
		ClusterIP: address(), ExternalIPs: addresses(), LoadBalancerIPs: addresses(),
		ExternalTrafficPolicy:  Pick(r, v1alpha1.TrafficPolicyLocal, v1alpha1.TrafficPolicyCluster, ""),
		InternalTrafficPolicy:  Pick(r, v1alpha1.TrafficPolicyLocal, v1alpha1.TrafficPolicyCluster, "Other"),
		AffinityTimeoutSeconds: Pick(r, int32(0), 1),
	}
	if r.Chance(50) {
		spec.LoadBalancerSources = &v1alpha1.SourceRanges{Allowed: append(Some(r, 3, SourceTexts...), text)}
	}
	for range r.IntN(4) {
		spec.Ports = append(spec.Ports, v1alpha1.RulePort{
			Name: Pick(r, PortNames...), Protocol: Pick(r, append(Protocols, "", "ICMP")...), Port: number(), NodePort: number(),
		})
	}
	for range r.IntN(6) {
		e := v1alpha1.RuleEndpoint{
			Address: address(), NodeName: Pick(r, append(NodeNames, "")...),
			State: Pick(r, v1alpha1.EndpointReady, v1alpha1.EndpointTerminating, v1alpha1.EndpointTerminatingLocal, v1alpha1.EndpointDraining, "", "Other"),
		}
		e.ForNodes, e.ForZones = Some(r, 2, NodeNames...), Some(r, 2, ZoneNames...)
		for range r.IntN(5) {
			e.TargetPorts = append(e.TargetPorts, number())
		}
		spec.Endpoints = append(spec.Endpoints, e)
	}
	return spec
}

// ID is the ID of the Service default/web in one of the families.
func (r *Random) ID() model.ServiceID {
	return model.ServiceID{Namespace: "default", Name: "web", Family: Pick(r, corev1.IPv4Protocol, corev1.IPv6Protocol)}
}
