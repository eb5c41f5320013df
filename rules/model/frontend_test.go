// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestFrontendKey(t *testing.T) {
	ordered := []model.FrontendKey{
		{Address: addr("0.0.0.0"), Protocol: model.TCP, Port: 3001},
		{Address: addr("10.96.0.9"), Protocol: model.UDP, Port: 53},
		{Address: addr("10.96.0.10"), Protocol: model.TCP, Port: 53},
		{Address: addr("10.96.0.10"), Protocol: model.TCP, Port: 80},
		{Address: addr("10.96.0.10"), Protocol: model.UDP, Port: 53},
		{Address: addr("fd00::10"), Protocol: model.SCTP, Port: 53},
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
	for want, key := range map[string]model.FrontendKey{"10.96.0.9:53/udp": ordered[1], "[fd00::10]:53/sctp": ordered[5], "10.0.0.1:1/47": {Address: addr("10.0.0.1"), Protocol: 47, Port: 1}} {
		if got := key.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestEqual(t *testing.T) {
	base := func() *model.Frontend {
		return &model.Frontend{
			Key: model.FrontendKey{Address: addr("1.2.3.4"), Protocol: model.TCP, Port: 80}, Kind: model.KindLoadBalancer, Service: webID, PortName: "http",
			Internal:               model.Backend{Verdict: model.Forward, Masquerade: model.MasqueradeAlways, Endpoints: []model.Endpoint{endpoint("10.0.0.1:80")}},
			External:               model.Backend{Verdict: model.Forward, Masquerade: model.MasqueradeNever, Endpoints: []model.Endpoint{endpoint("10.0.0.1:80")}},
			AffinityTimeoutSeconds: 1, PortKey: model.FrontendKey{Address: addr("172.30.0.41"), Protocol: model.TCP, Port: 80}, Restricted: true, Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		}
	}
	for name, change := range map[string]func(*model.Frontend){
		"key":                 func(f *model.Frontend) { f.Key.Port++ },
		"kind":                func(f *model.Frontend) { f.Kind = model.KindExternalIP },
		"service":             func(f *model.Frontend) { f.Service.Name = "x" },
		"port name":           func(f *model.Frontend) { f.PortName = "x" },
		"internal verdict":    func(f *model.Frontend) { f.Internal.Verdict = model.Drop },
		"external masquerade": func(f *model.Frontend) { f.External.Masquerade = model.MasqueradeAlways },
		"endpoints":           func(f *model.Frontend) { f.External.Endpoints = nil },
		"serving":             func(f *model.Frontend) { f.Serving = []model.Endpoint{endpoint("10.0.0.1:80")} },
		"affinity":            func(f *model.Frontend) { f.AffinityTimeoutSeconds++ },
		"port key":            func(f *model.Frontend) { f.PortKey.Port++ },
		"ports":               func(f *model.Frontend) { f.Ports = 2 },
		"another endpoint":    func(f *model.Frontend) { f.External.Endpoints = []model.Endpoint{endpoint("10.0.0.2:80")} },
		"local endpoints":     func(f *model.Frontend) { f.External.Local = true },
		"restricted":          func(f *model.Frontend) { f.Restricted = false },
		"sources":             func(f *model.Frontend) { f.Sources = nil },
	} {
		t.Run(name, func(t *testing.T) {
			other := base()
			change(other)
			if base().Equal(other) || other.Equal(base()) {
				t.Error("equal")
			}
		})
	}
	var none *model.Frontend
	if !base().Equal(base()) || !none.Equal(nil) || none.Equal(base()) || base().Equal(none) {
		t.Error("Equal of the same, or of nil")
	}
}

func TestProtocolOf(t *testing.T) {
	for in, want := range map[corev1.Protocol]string{"TCP": "tcp", "": "tcp", "UDP": "udp", "SCTP": "sctp", "ICMP": "0"} {
		if got := model.ProtocolOf(in).String(); got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
	if model.TCP != 6 || model.UDP != 17 || model.SCTP != 132 {
		t.Error("the numbers are not those of IP")
	}
}

func TestNodePortKey(t *testing.T) {
	for in, want := range map[string]string{"192.168.0.2": "0.0.0.0:3001/udp", "fd00::2": "[::]:3001/udp"} {
		key := model.FrontendKey{Address: addr(in), Protocol: model.UDP, Port: 3001}
		if got := key.NodePort(); got.String() != want || !got.IsNodePort() || key.IsNodePort() {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestHome checks which frontends share their state.
func TestHome(t *testing.T) {
	own, shared := model.FrontendKey{Address: addr("192.0.2.1"), Port: 80}, model.FrontendKey{Address: addr("10.96.0.1"), Port: 80}
	for name, tc := range map[string]struct{ portKey, want model.FrontendKey }{
		"alone": {model.FrontendKey{}, own}, "shared": {shared, shared},
	} {
		if got := (&model.Frontend{Key: own, PortKey: tc.portKey}).Home(); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// TestViews checks that the external view is one only where it differs.
func TestViews(t *testing.T) {
	a, b := model.Backend{Verdict: model.Reject}, model.Backend{Verdict: model.Drop}
	for name, tc := range map[string]struct {
		f    model.Frontend
		stop bool
		want []model.Backend
	}{
		"the same":       {model.Frontend{Internal: a, External: a}, false, []model.Backend{a}},
		"another":        {model.Frontend{Internal: a, External: b}, false, []model.Backend{a, b}},
		"another, break": {model.Frontend{Internal: a, External: b}, true, []model.Backend{a}},
	} {
		var got []model.Backend
		for view, backend := range tc.f.Views() {
			if int(view) != len(got) {
				t.Errorf("%s: view %d comes after %d others", name, view, len(got))
			}
			if got = append(got, backend); tc.stop {
				break
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if tc.f.ExternalDiffers() != !tc.f.External.Equal(tc.f.Internal) {
			t.Errorf("%s: differs: %v", name, tc.f.ExternalDiffers())
		}
	}
}

func TestEqualEndpoints(t *testing.T) {
	list := []model.Endpoint{endpoint("10.0.0.1:80"), endpoint("10.0.0.2:80")}
	for name, tc := range map[string]struct {
		a, b []model.Endpoint
		want bool
	}{
		"none":             {nil, []model.Endpoint{}, true},
		"the same list":    {list, list, true},
		"an equal list":    {list, []model.Endpoint{list[0], list[1]}, true},
		"its beginning":    {list, list[:1], false},
		"another last one": {list, []model.Endpoint{list[0], list[0]}, false},
		"another port":     {list[:1], []model.Endpoint{endpoint("10.0.0.1:81")}, false},
	} {
		if model.EqualEndpoints(tc.a, tc.b) != tc.want || model.EqualEndpoints(tc.b, tc.a) != tc.want {
			t.Errorf("%s: not %v", name, tc.want)
		}
	}
}

func TestAllowsExternalIP(t *testing.T) {
	ranges := []string{"bad", "192.0.2.0/25", "2001:db8::/32"}
	for name, tc := range map[string]struct {
		options v1alpha1.ExternalIPOptions
		address string
		want    bool
	}{
		"no policy":            {v1alpha1.ExternalIPOptions{}, "192.0.2.1", false},
		"deny":                 {v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPDeny}, "192.0.2.1", false},
		"deny, in a range":     {v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPDeny, AllowedCIDRs: ranges}, "192.0.2.1", false},
		"allow":                {v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow}, "192.0.2.1", true},
		"allow, in a range":    {v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow, AllowedCIDRs: ranges}, "192.0.2.127", true},
		"allow, in the last":   {v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow, AllowedCIDRs: ranges}, "2001:db8::1", true},
		"allow, outside":       {v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow, AllowedCIDRs: ranges}, "192.0.2.128", false},
		"allow, only bad ones": {v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow, AllowedCIDRs: ranges[:1]}, "192.0.2.1", false},
	} {
		if got := model.AllowsExternalIP(tc.options, addr(tc.address)); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
