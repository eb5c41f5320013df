// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package observation

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestEvent(t *testing.T) {
	addr, at := netip.MustParseAddr, netip.MustParseAddrPort
	r := Rules{Node: "n", Frontends: map[model.FrontendKey]*model.Frontend{},
		NodePortAddresses: map[netip.Addr]struct{}{addr("192.0.2.1"): {}, addr("2001:db8::1"): {}},
		Addresses:         map[netip.Addr]struct{}{addr("192.0.2.1"): {}, addr("10.244.1.1"): {}}}
	for text, f := range map[string]model.Frontend{
		"10.96.0.1:80":    {Kind: model.KindClusterIP, Service: model.ServiceID{Namespace: "shop", Name: "web"}, PortName: "http"},
		"0.0.0.0:30080":   {Kind: model.KindNodePort, Service: model.ServiceID{Namespace: "shop", Name: "web"}, PortName: "http"},
		"[::]:30080":      {Kind: model.KindNodePort, Service: model.ServiceID{Namespace: "shop", Name: "six"}},
		"192.0.2.1:30081": {Kind: model.KindExternalIP, Service: model.ServiceID{Namespace: "shop", Name: "exact"}},
		"0.0.0.0:30081":   {Kind: model.KindNodePort, Service: model.ServiceID{Namespace: "shop", Name: "any"}},
	} {
		place := at(text)
		f.Key = model.FrontendKey{Address: place.Addr(), Port: place.Port(), Protocol: model.TCP}
		r.Frontends[f.Key] = &f
	}
	now := time.Unix(1, 0)
	for name, tc := range map[string]struct {
		flow Flow
		want Event // no Service: it is to none
	}{
		"a cluster IP": {Flow{model.TCP, at("10.244.1.9:41000"), at("10.96.0.1:80"), at("10.244.2.5:8080")},
			Event{Client: "10.244.1.9:41000", Service: "shop/web", Port: "http", Kind: model.KindClusterIP, Destination: "10.96.0.1:80/tcp", Endpoint: "10.244.2.5:8080"}},
		"from the node, to the node": {Flow{model.TCP, at("10.244.1.1:41000"), at("192.0.2.1:30080"), at("192.0.2.1:8080")},
			Event{Client: "10.244.1.1:41000", ClientNode: "n", Service: "shop/web", Port: "http", Kind: model.KindNodePort, Destination: "192.0.2.1:30080/tcp", Endpoint: "192.0.2.1:8080", EndpointNode: "n"}},
		"IPv6": {Flow{model.TCP, at("[fd00::9]:1"), at("[2001:db8::1]:30080"), at("[fd00::5]:2")},
			Event{Client: "[fd00::9]:1", Service: "shop/six", Kind: model.KindNodePort, Destination: "[2001:db8::1]:30080/tcp", Endpoint: "[fd00::5]:2"}},
		"the very address comes first": {Flow{model.TCP, at("203.0.113.7:1"), at("192.0.2.1:30081"), at("10.244.2.5:2")},
			Event{Client: "203.0.113.7:1", Service: "shop/exact", Kind: model.KindExternalIP, Destination: "192.0.2.1:30081/tcp", Endpoint: "10.244.2.5:2"}},
		"another protocol":                  {flow: Flow{model.UDP, at("10.244.1.9:1"), at("10.96.0.1:80"), at("10.244.2.5:8080")}},
		"another port":                      {flow: Flow{model.TCP, at("10.244.1.9:1"), at("10.96.0.1:81"), at("10.244.2.5:8080")}},
		"the node port of another machine":  {flow: Flow{model.TCP, at("10.244.1.9:1"), at("192.0.2.2:30080"), at("10.244.2.5:8080")}},
		"an address without this node port": {flow: Flow{model.TCP, at("10.244.1.9:1"), at("10.244.1.1:30080"), at("10.244.2.5:8080")}},
	} {
		t.Run(name, func(t *testing.T) {
			to := r.FrontendOf(tc.flow)
			if (to != nil) != (tc.want.Service != "") {
				t.Fatalf("frontend %+v", to)
			}
			if to == nil {
				return
			}
			tc.want.Time, tc.want.Node = now, "n"
			if diff := cmp.Diff(tc.want, r.Event(now, tc.flow, to)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
