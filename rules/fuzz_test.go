// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// byteSource lets the fuzzer steer random: a byte for each decision, and an
// ordinary generator when the bytes are used up.
type byteSource struct {
	data []byte
	rest *rand.PCG
}

func (s *byteSource) Uint64() uint64 {
	if len(s.data) == 0 {
		return s.rest.Uint64()
	}
	b := s.data[0]
	s.data = s.data[1:]
	return uint64(b) * 0x0101010101010101
}

func steered(data []byte) *random { return &random{rand.New(&byteSource{data, rand.NewPCG(1, 1)})} }

var seeds = []string{"", "\x00\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff", "0123456789abcdefghijklmnopqrstuvwxyz", "\x80\x01\x7f\x40\xc0\x20\xe0\x10\xf0"}

// FuzzCompile compiles odd Services and EndpointSlices: what comes out is
// canonical and does not depend on the order of the input.
func FuzzCompile(f *testing.F) {
	for i, s := range seeds {
		f.Add([]byte(s), frontendTexts[i], endpointTexts[i], sourceTexts[i])
		f.Add([]byte(s+s), frontendTexts[len(frontendTexts)-1-i], endpointTexts[len(endpointTexts)-1-i], sourceTexts[i])
	}
	f.Fuzz(func(t *testing.T, data []byte, frontend, address, source string) {
		r := steered(data)
		service, endpoints := r.service("web"), r.slices("web")
		service.externalIPs(append(service.Spec.ExternalIPs, frontend)...).loadBalancer(frontend)
		service.sources(append(service.Spec.LoadBalancerSourceRanges, source)...)
		if r.chance(20) {
			service.ip(frontend)
		}
		for _, s := range endpoints {
			s.ready(address, pick(r, nodeNames...))
		}
		in := input(service, endpoints...)
		compiled := Compile(in)
		if diff := cmp.Diff(compiled, Compile(r.reordered(in))); diff != "" {
			t.Errorf("depends on the order of the input:\n%s", diff)
		}
		node := r.node()
		for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
			for _, spec := range specs(compiled, family) {
				checkCanonical(t, spec)
			}
			id := ServiceID{"default", "web", family}
			resolved, err := Resolve(node, id, specs(compiled, family))
			if err != nil {
				t.Error(err)
			}
			checkResolved(t, id, resolved)
		}
	})
}

func checkCanonical(t *testing.T, spec *v1alpha1.ServiceRuleSliceSpec) {
	t.Helper()
	addresses := append([]string{spec.ClusterIP}, spec.ExternalIPs...)
	addresses = append(addresses, spec.LoadBalancerIPs...)
	for _, e := range spec.Endpoints {
		addresses = append(addresses, e.Address)
		if len(e.TargetPorts) != len(spec.Ports) {
			t.Errorf("endpoint %s has %d ports of %d", e.Address, len(e.TargetPorts), len(spec.Ports))
		}
	}
	for _, text := range addresses {
		a, err := netip.ParseAddr(text)
		if err != nil || a.String() != text || a.Zone() != "" || a.Is4In6() || FamilyOf(a) != spec.AddressFamily {
			t.Errorf("%q is not canonical %s: %v", text, spec.AddressFamily, err)
		}
	}
	if spec.LoadBalancerSources == nil {
		return
	}
	for _, text := range spec.LoadBalancerSources.Allowed {
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Masked().String() != text || FamilyOf(p.Addr()) != spec.AddressFamily {
			t.Errorf("source %q is not canonical %s: %v", text, spec.AddressFamily, err)
		}
	}
}

// FuzzResolve resolves slices that no controller of ours would write: no panic,
// and no frontend that a dataplane could not program.
func FuzzResolve(f *testing.F) {
	for i, s := range seeds {
		f.Add([]byte(s), frontendTexts[i])
		f.Add([]byte(s+s), endpointTexts[len(endpointTexts)-1-i])
		f.Add([]byte(s+s+s), sourceTexts[i])
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		r := steered(data)
		var parts []*v1alpha1.ServiceRuleSliceSpec
		for i := range r.IntN(4) {
			parts = append(parts, r.oddSpec(text))
			parts[i].Digest = strconv.Itoa(i) // decides between parts of the same number
		}
		id := r.id()
		node := r.node()
		node.Spec.Node.Addresses = append(node.Spec.Node.Addresses, text)
		node.Spec.LocalTraffic.ClusterCIDRs = append(node.Spec.LocalTraffic.ClusterCIDRs, text)
		resolved, err := Resolve(node, id, parts)
		checkResolved(t, id, resolved)
		shuffle(r, parts)
		again, errAgain := Resolve(node, id, parts)
		if diff := cmp.Diff(resolved, again, byValue); diff != "" || (err == nil) != (errAgain == nil) {
			t.Errorf("errors %v and %v, depends on the order of parts:\n%s", err, errAgain, diff)
		}
		table := NewTable()
		table.Set(id, resolved)
		d := table.Flush()
		shadow := NewDesired()
		if d.Apply(&shadow); !cmp.Equal(table.Desired(), shadow, byValue) {
			t.Error("the delta does not make the table")
		}
		_, _ = Settings(node.Spec) // no panic; the error names the odd CIDR
	})
}

// oddSpec makes a slice whose every field may be wrong.
func (r *random) oddSpec(text string) *v1alpha1.ServiceRuleSliceSpec {
	address := func() string { return pick(r, append(append([]string{text}, frontendTexts...), endpointTexts...)...) }
	number := func() int32 { return pick(r, int32(80), 8080, 3001, 0, -1, 65535, 65536, 65616, -2147483648) }
	addresses := func() (out []string) {
		for range r.IntN(3) {
			out = append(out, address())
		}
		return out
	}
	spec := &v1alpha1.ServiceRuleSliceSpec{
		AddressFamily: pick(r, corev1.IPv4Protocol, corev1.IPv4Protocol, corev1.IPv6Protocol, corev1.IPv6Protocol, ""),
		Part:          pick(r, int32(0), 0, 1, -1), Parts: number(),
		ClusterIP: address(), ExternalIPs: addresses(), LoadBalancerIPs: addresses(),
		ExternalTrafficPolicy:  pick(r, v1alpha1.TrafficPolicyLocal, v1alpha1.TrafficPolicyCluster, ""),
		InternalTrafficPolicy:  pick(r, v1alpha1.TrafficPolicyLocal, v1alpha1.TrafficPolicyCluster, "Other"),
		AffinityTimeoutSeconds: pick(r, int32(0), 1),
	}
	if r.chance(50) {
		spec.LoadBalancerSources = &v1alpha1.SourceRanges{Allowed: append(some(r, 3, sourceTexts...), text)}
	}
	for range r.IntN(4) {
		spec.Ports = append(spec.Ports, v1alpha1.RulePort{
			Name: pick(r, portNames...), Protocol: pick(r, append(protocols, "", "ICMP")...), Port: number(), NodePort: number(),
		})
	}
	for range r.IntN(6) {
		e := v1alpha1.RuleEndpoint{
			Address: address(), NodeName: pick(r, append(nodeNames, "")...),
			State: pick(r, v1alpha1.EndpointReady, v1alpha1.EndpointTerminating, v1alpha1.EndpointTerminatingLocal, v1alpha1.EndpointDraining, "", "Other"),
		}
		e.ForNodes, e.ForZones = some(r, 2, nodeNames...), some(r, 2, zoneNames...)
		for range r.IntN(5) {
			e.TargetPorts = append(e.TargetPorts, number())
		}
		spec.Endpoints = append(spec.Endpoints, e)
	}
	return spec
}

func FuzzParseAddr(f *testing.F) {
	for _, s := range append(frontendTexts, endpointTexts...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseAddr(text)
		if strict, strictErr := netip.ParseAddr(text); strictErr == nil && strict.Zone() == "" && (err != nil || got != strict.Unmap()) {
			t.Errorf("%q: got %s, %v, strictly %s", text, got, err, strict)
		}
		if err != nil {
			return
		}
		if got.Zone() != "" || got.Is4In6() || !got.IsValid() {
			t.Errorf("%q: %s is not canonical", text, got)
		}
		if again, err := parseAddr(got.String()); err != nil || again != got {
			t.Errorf("%q: %s, read again %s, %v", text, got, again, err)
		}
		// Lenience is about leading zeros and spaces only.
		if _, err := netip.ParseAddr(strings.TrimSpace(text)); err != nil && !strings.Contains(text, "0") {
			t.Errorf("%q was read as %s", text, got)
		}
	})
}

func FuzzParsePrefix(f *testing.F) {
	for _, s := range sourceTexts {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parsePrefix(text)
		if strict, strictErr := netip.ParsePrefix(text); strictErr == nil && !strict.Addr().Is4In6() && (err != nil || got != strict.Masked()) {
			t.Errorf("%q: got %s, %v, strictly %s", text, got, err, strict)
		}
		if err != nil {
			return
		}
		if got != got.Masked() || !got.IsValid() || got.Addr().Is4In6() {
			t.Errorf("%q: %s is not canonical", text, got)
		}
		if again, err := parsePrefix(got.String()); err != nil || again != got {
			t.Errorf("%q: %s, read again %s, %v", text, got, again, err)
		}
	})
}
