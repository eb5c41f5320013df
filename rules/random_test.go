// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

var seedFlag = flag.Uint64("seed", 0, "run the property tests with this seed only")

// everySeed runs a property with random seeds; a failure names its seed.
func everySeed(t *testing.T, runs int, property func(t *testing.T, r *random)) {
	t.Helper()
	seed := *seedFlag
	defer func() {
		if t.Failed() {
			t.Logf("again with: go test ./rules -run %s -seed %d", t.Name(), seed)
		}
	}()
	for range runs {
		if *seedFlag == 0 {
			seed = rand.Uint64()
		}
		if property(t, newRandom(seed)); t.Failed() || *seedFlag != 0 {
			return
		}
	}
}

// random makes objects out of few values, so that they meet often.
type random struct{ *rand.Rand }

func newRandom(seed uint64) *random { return &random{rand.New(rand.NewPCG(seed, 0))} }

func (r *random) chance(percent int) bool { return r.IntN(100) < percent }

func pick[T any](r *random, values ...T) T { return values[r.IntN(len(values))] }

// some returns up to n of the values, with repetitions.
func some[T any](r *random, n int, values ...T) []T {
	var out []T
	for range r.IntN(n + 1) {
		out = append(out, pick(r, values...))
	}
	return out
}

func shuffle[T any](r *random, values []T) {
	r.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
}

var (
	frontendTexts = []string{
		"1.2.3.4", "01.02.03.04", "5.6.7.8", "192.168.99.11", "172.30.0.41", "2001:db8::4", "2001:DB8::0004",
		"127.0.0.1", "::ffff:1.2.3.4", "0.0.0.0", "nonsense", "",
	}
	endpointTexts = []string{
		"10.0.0.1", "10.0.0.2", "010.0.0.3", "10.0.0.4", "fd00::1", "fd00::2", "fd00::0003", "127.0.0.1", "169.254.1.1", "::", "::1", "example.com", "fe80::1%e0",
	}
	sourceTexts = []string{"0.0.0.0/0", "::/0", "203.0.113.0/25", " 192.168.0.0/24", "10.0.0.7/08", "2001:db8::/32", "10.0.0.0", "x/8"}
	portNames   = []string{"http", "admin", ""}
	protocols   = []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
	nodeNames   = []string{here, there, "third"}
	zoneNames   = []string{"a", "b", "c"}
)

// service makes a Service default/name, now and then one that is not proxied.
func (r *random) service(name string) *serviceBuilder {
	b := svc(name).ip(pick(r, "172.30.0.41", "172.30.0.42", "172.030.0.43", "None", "", "fd00:30::41"))
	if r.chance(40) {
		b.ip("172.30.0.41", "fd00:30::41")
	}
	for i, n := range portNames[:r.IntN(len(portNames)+1)] {
		b.port(n, pick(r, int32(80), 81, 443)+int32(i)*1000).protocol(pick(r, protocols...))
		if r.chance(50) {
			b.nodePort(pick(r, int32(3001), 3002, 3003))
		}
	}
	b.externalIPs(some(r, 3, frontendTexts...)...)
	for _, ip := range some(r, 3, frontendTexts...) {
		b.ingress(ingress(ip, pick(r, corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeProxy)))
	}
	b.sources(some(r, 3, sourceTexts...)...)
	if r.chance(50) {
		b.externalLocal()
		b.Spec.HealthCheckNodePort = pick(r, int32(0), 32100, 32101)
	}
	if r.chance(50) {
		b.internalLocal()
	}
	if r.chance(30) {
		b.affinity(pick(r, int32(0), 60))
	}
	if r.chance(5) {
		b.label(labelServiceProxyName, "other")
	}
	return b
}

// slices makes EndpointSlices of a Service.
func (r *random) slices(service string) []*sliceBuilder {
	var out []*sliceBuilder
	for i := range r.IntN(5) {
		s := slice(service).named(fmt.Sprintf("%s-%d", service, i)).kind(pick(r, discoveryv1.AddressTypeIPv4,
			discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN))
		for _, n := range portNames[:r.IntN(len(portNames)+1)] {
			s.port(n, pick(r, int32(8080), 8081, 8080, 8081, 0, 70000)).protocol(pick(r, protocols...))
		}
		for range r.IntN(6) {
			s.endpoint(pick(r, endpointTexts...), pick(r, append(nodeNames, "")...), r.chance(50), r.chance(70), r.chance(40))
			r.addHints(s)
		}
		out = append(out, s)
	}
	return out
}

func (r *random) addHints(s *sliceBuilder) {
	if r.chance(80) {
		s.forZones(some(r, 2, zoneNames...)...)
	}
	if r.chance(80) {
		s.forNodes(some(r, 2, nodeNames...)...)
	}
}

func (r *random) input(service string) CompileInput {
	in := input(r.service(service), r.slices(service)...)
	if r.chance(30) {
		in.Parts = map[corev1.IPFamily]int32{corev1.IPv4Protocol: pick(r, int32(0), 1, 2, 3), corev1.IPv6Protocol: 2}
	}
	return in
}

// node makes a node and its policy.
func (r *random) node() Node {
	b := thisNode().named(pick(r, nodeNames...)).zone(pick(r, append(zoneNames, "")...))
	if r.chance(20) {
		b.noDetector()
	}
	if r.chance(20) {
		b.masqueradeAll()
	}
	if r.chance(20) {
		b.affinity(v1alpha1.AffinityClientIP, 30)
	}
	return b.nodePorts(pick(r, "Primary", "All", "Localhost", "192.168.0.0/16")).Node
}

// reordered returns a copy whose lists without a meaning of order are shuffled.
func (r *random) reordered(in CompileInput) CompileInput {
	out := CompileInput{Service: in.Service.DeepCopy(), Parts: in.Parts}
	for _, s := range in.EndpointSlices {
		c := s.DeepCopy()
		shuffle(r, c.Ports)
		shuffle(r, c.Endpoints)
		for _, e := range c.Endpoints {
			if e.Hints != nil {
				shuffle(r, e.Hints.ForZones)
				shuffle(r, e.Hints.ForNodes)
			}
		}
		out.EndpointSlices = append(out.EndpointSlices, c)
	}
	shuffle(r, out.EndpointSlices)
	shuffle(r, out.Service.Spec.ExternalIPs)
	shuffle(r, out.Service.Spec.LoadBalancerSourceRanges)
	shuffle(r, out.Service.Status.LoadBalancer.Ingress)
	return out
}

// table fills a table with random Services.
func (r *random) table(t *testing.T, node Node) *Table {
	t.Helper()
	var inputs []CompileInput
	for _, name := range some(r, 4, "a", "b", "c", "d") {
		inputs = append(inputs, r.input(name))
	}
	return tableOf(t, node, inputs...)
}
