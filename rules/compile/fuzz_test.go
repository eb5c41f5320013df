// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// FuzzCompile compiles odd Services and EndpointSlices. The result is canonical and does
// not depend on the order of the input.
func FuzzCompile(f *testing.F) {
	for i, s := range Seeds {
		f.Add([]byte(s), FrontendTexts[i], EndpointTexts[i], SourceTexts[i])
		f.Add([]byte(s+s), FrontendTexts[len(FrontendTexts)-1-i], EndpointTexts[len(EndpointTexts)-1-i], SourceTexts[i])
	}
	f.Fuzz(func(t *testing.T, data []byte, frontend, address, source string) {
		r := Steered(data)
		service, endpoints := r.Service("web"), r.Slices("web")
		service.ExternalIPs(append(service.Spec.ExternalIPs, frontend)...).LoadBalancer(frontend)
		service.Sources(append(service.Spec.LoadBalancerSourceRanges, source)...)
		if r.Chance(20) {
			service.IP(frontend)
		}
		for _, s := range endpoints {
			s.Ready(address, Pick(r, NodeNames...))
		}
		in := Input(service, endpoints...)
		compiled := compile.Service(in)
		if diff := cmp.Diff(compiled, compile.Service(r.Reordered(in))); diff != "" {
			t.Errorf("depends on the order of the input:\n%s", diff)
		}
		node := r.Node()
		for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
			for _, spec := range Specs(compiled, family) {
				checkCanonical(t, spec)
			}
			id := model.ServiceID{Namespace: "default", Name: "web", Family: family}
			resolved, err := resolve.Service(node, id, Specs(compiled, family))
			if err != nil {
				t.Error(err)
			}
			CheckResult(t, id, resolved)
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
		if err != nil || a.String() != text || a.Zone() != "" || a.Is4In6() || model.FamilyOf(a) != spec.AddressFamily {
			t.Errorf("%q is not canonical %s: %v", text, spec.AddressFamily, err)
		}
	}
	if spec.LoadBalancerSources == nil {
		return
	}
	for _, text := range spec.LoadBalancerSources.Allowed {
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Masked().String() != text || model.FamilyOf(p.Addr()) != spec.AddressFamily {
			t.Errorf("source %q is not canonical %s: %v", text, spec.AddressFamily, err)
		}
	}
}
