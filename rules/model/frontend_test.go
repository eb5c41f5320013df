// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"net/netip"
	"testing"

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
