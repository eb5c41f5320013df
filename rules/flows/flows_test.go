// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

const (
	vip      = "10.96.0.10:53"
	nodePort = "0.0.0.0:30053"
	nodeIP   = "192.168.0.2:30053"
	client   = "10.244.0.200:40000"
	podA     = "10.244.0.1:53"
	podB     = "10.244.0.2:53"
)

func frontend(protocol model.Protocol, at string, to ...string) *model.Frontend {
	f := &model.Frontend{Key: keyOf(protocol, netip.MustParseAddrPort(at))}
	for _, e := range to {
		f.Internal.Endpoints = append(f.Internal.Endpoints, netip.MustParseAddrPort(e))
	}
	f.External = f.Internal
	if protocol == model.UDP {
		f.Serving = f.Internal.Endpoints
	}
	return f
}

func flow(protocol model.Protocol, from, to, endpoint string) Flow {
	return Flow{Protocol: protocol, Source: netip.MustParseAddrPort(from), Destination: netip.MustParseAddrPort(to), Endpoint: netip.MustParseAddrPort(endpoint)}
}

func unanswered(f Flow) Flow  { f.Unanswered = true; return f }
func inOtherZone(f Flow) Flow { f.OtherZone = true; return f }

func TestStale(t *testing.T) {
	frontends := map[model.FrontendKey]*model.Frontend{}
	drains := frontend(model.UDP, "10.96.0.12:53", podB)
	drains.Serving = append(drains.Serving, netip.MustParseAddrPort(podA))
	local := frontend(model.TCP, "203.0.113.1:80", podA, podB)
	local.External.Endpoints = local.External.Endpoints[:1]
	// Where only terminating endpoints are local, traffic from outside has others.
	apart := frontend(model.TCP, "203.0.113.2:80", podA)
	apart.External.Endpoints = []model.Endpoint{netip.MustParseAddrPort(podB)}
	for _, f := range []*model.Frontend{frontend(model.UDP, vip, podA), frontend(model.TCP, vip, podA), frontend(model.UDP, nodePort, podA),
		frontend(model.SCTP, vip, podA), frontend(model.UDP, "10.96.0.11:53"), drains, local, apart} {
		frontends[f.Key] = f
	}
	const removed, elsewhere = "10.96.0.99:53", "192.0.2.1:30053"
	rules := Rules{
		Frontend:          func(k model.FrontendKey) *model.Frontend { return frontends[k] },
		Removed:           func(k model.FrontendKey) bool { return k.String() == removed+"/udp" || k.String() == removed+"/tcp" },
		NodePortAddresses: map[netip.Addr]struct{}{netip.MustParseAddr("192.168.0.2"): {}},
	}
	const udp, tcp = model.UDP, model.TCP
	for name, c := range map[string]struct {
		flow Flow
		want string // the frontend; empty: the flow lives on
	}{
		"its endpoint serves":                {flow(udp, client, vip, podA), ""},
		"its endpoint is gone":               {flow(udp, client, vip, podB), "10.96.0.10:53/udp"},
		"its endpoint drains":                {flow(udp, client, "10.96.0.12:53", podA), ""},
		"no endpoint is left":                {flow(udp, client, "10.96.0.11:53", podA), "10.96.0.11:53/udp"},
		"older than the frontend":            {flow(udp, client, vip, vip), "10.96.0.10:53/udp"},
		"another zone's view of it":          {inOtherZone(flow(udp, client, vip, vip)), ""},
		"the answer to what is older":        {flow(udp, vip, client, client), "10.96.0.10:53/udp"},
		"such an answer, other zone":         {inOtherZone(flow(udp, vip, client, client)), ""},
		"translated, from such an address":   {flow(udp, vip, client, podA), ""},
		"an answer of TCP":                   {unanswered(flow(tcp, vip, client, client)), ""},
		"the frontend is gone":               {flow(udp, client, removed, podA), removed + "/udp"},
		"gone, and it was not translated":    {flow(udp, client, removed, removed), ""},
		"a frontend that never was":          {flow(udp, client, "10.96.0.98:53", podA), ""},
		"node port":                          {flow(udp, client, nodeIP, podA), ""},
		"node port, endpoint gone":           {flow(udp, client, nodeIP, podB), "0.0.0.0:30053/udp"},
		"another machine's port":             {flow(udp, client, elsewhere, elsewhere), ""},
		"TCP, established":                   {flow(tcp, client, vip, podB), ""},
		"TCP, half-open":                     {unanswered(flow(tcp, client, vip, podB)), "10.96.0.10:53/tcp"},
		"TCP, half-open, endpoint is there":  {unanswered(flow(tcp, client, vip, podA)), ""},
		"TCP, half-open, frontend gone":      {unanswered(flow(tcp, client, removed, podA)), removed + "/tcp"},
		"TCP, half-open, not translated":     {unanswered(flow(tcp, client, vip, vip)), "10.96.0.10:53/tcp"},
		"TCP, not translated, answered":      {flow(tcp, client, vip, vip), ""},
		"TCP, not translated, other zone":    {inOtherZone(unanswered(flow(tcp, client, vip, vip))), ""},
		"TCP, not translated, frontend gone": {unanswered(flow(tcp, client, removed, removed)), ""},
		"TCP, internal endpoint":             {unanswered(flow(tcp, client, "203.0.113.1:80", podB)), ""},
		"TCP, external endpoint":             {unanswered(flow(tcp, client, "203.0.113.1:80", podA)), ""},
		"TCP, only external endpoint":        {unanswered(flow(tcp, client, "203.0.113.2:80", podB)), ""},
		"TCP, only internal endpoint":        {unanswered(flow(tcp, client, "203.0.113.2:80", podA)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			key, stale := rules.Stale(c.flow)
			got := key.String()
			if !stale {
				got = ""
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestTracked checks which protocols' flows are looked at, and of which only the half-open ones.
func TestTracked(t *testing.T) {
	for p, want := range map[model.Protocol][2]bool{model.UDP: {true, false}, model.TCP: {true, true}, model.SCTP: {false, false}} {
		if got := [2]bool{Tracked(p), HalfOpen(p)}; got != want {
			t.Errorf("%s: tracked and half-open %v, want %v", p, got, want)
		}
	}
}

func TestEffectOf(t *testing.T) {
	const udp, tcp = model.UDP, model.TCP
	serves := frontend(udp, vip)
	serves.Serving = frontend(udp, vip, podA).Serving
	external := frontend(tcp, vip, podA)
	external.External = frontend(tcp, vip, podB).External
	for name, c := range map[string]struct {
		old, now *model.Frontend
		want     Effect
	}{
		"UDP, new":                       {nil, frontend(udp, vip, podA), Effect{Stale: true, Older: true}},
		"UDP, removed":                   {frontend(udp, vip, podA), nil, Effect{Stale: true}},
		"UDP, removed without endpoints": {frontend(udp, vip), nil, Effect{Stale: true}},
		"UDP, an endpoint more":          {frontend(udp, vip, podA), frontend(udp, vip, podA, podB), Effect{}},
		"UDP, one less":                  {frontend(udp, vip, podA, podB), frontend(udp, vip, podA), Effect{Stale: true}},
		"UDP, one less that serves":      {frontend(udp, vip, podA), serves, Effect{}},
		"TCP, new":                       {nil, frontend(tcp, vip, podA), Effect{}},
		"TCP, removed":                   {frontend(tcp, vip, podA), nil, Effect{Stale: true}},
		"TCP, an endpoint more":          {frontend(tcp, vip, podA), frontend(tcp, vip, podA, podB), Effect{}},
		"TCP, one replaced":              {frontend(tcp, vip, podA), frontend(tcp, vip, podB), Effect{Stale: true}},
		"TCP, the external one removed":  {external, frontend(tcp, vip, podA), Effect{Stale: true}},
		"TCP, an external one added":     {frontend(tcp, vip, podA), external, Effect{}},
		"SCTP, removed":                  {frontend(model.SCTP, vip, podA), nil, Effect{}},
	} {
		t.Run(name, func(t *testing.T) {
			change := model.Change{Old: c.old, New: c.now}
			for _, f := range []*model.Frontend{c.old, c.now} {
				if f != nil {
					change.Key = f.Key
				}
			}
			if diff := cmp.Diff(c.want, EffectOf(change)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
