// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

var (
	at        = desiredtest.At
	forwardTo = desiredtest.ForwardTo
	mustSync  = desiredtest.Sync
	mustApply = desiredtest.Apply

	rejected = model.Backend{Verdict: model.Reject}
	dropped  = model.Backend{Verdict: model.Drop}
)

// put adds a frontend of a Service's port. The second backend, if given, is the external
// one.
func put(d *model.Desired, service, key string, b ...model.Backend) *model.Frontend {
	f := &model.Frontend{Key: at(key), Internal: b[0], External: b[len(b)-1], PortName: "http"}
	f.Service = model.ServiceID{Namespace: "default", Name: service, Family: model.FamilyOf(f.Key.Address)}
	d.Frontends[f.Key] = f
	return f
}

// several returns n services with m endpoints each.
func several(n, m int) model.Desired {
	d := model.NewDesired()
	for i := range n {
		var endpoints []string
		for j := range m {
			endpoints = append(endpoints, fmt.Sprintf("10.%d.%d.%d:8080", 128+j, i/250, i%250+1))
		}
		vip := netip.AddrFrom4([4]byte{10, 96, byte(i / 250), byte(i%250 + 1)})
		put(&d, fmt.Sprint("web-", i), vip.String()+":80/tcp", forwardTo(model.MasqueradeUnlessPod, endpoints...))
		d.ClusterIPs[vip] = struct{}{}
	}
	return d
}

// mixed has one frontend of each kind, in both families.
func mixed() model.Desired {
	d := model.NewDesired()
	dns := forwardTo(model.MasqueradeUnlessPod, "10.244.1.2:53", "10.244.2.2:53", "10.244.2.3:53")
	put(&d, "dns", "10.96.0.10:53/udp", dns).AffinityTimeoutSeconds = 10800
	put(&d, "dns-tcp", "10.96.0.10:53/tcp", dns)
	put(&d, "none", "10.96.0.20:80/tcp", rejected)
	put(&d, "sctp", "10.96.0.21:80/sctp", dropped)
	put(&d, "sctp2", "10.96.0.22:80/sctp", dns)
	all := forwardTo(model.MasqueradeUnlessPod, "10.244.1.3:8443", "10.244.2.3:8443")
	local := forwardTo(model.MasqueradeNever, "10.244.1.3:8443")
	f := put(&d, "lb", "192.0.2.7:443/tcp", all, local)
	f.Restricted, f.Sources = true, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("203.0.113.0/25")}
	put(&d, "lb2", "192.0.2.8:443/tcp", forwardTo(model.MasqueradeAlways, "10.244.2.3:8443"), dropped).Restricted = true
	put(&d, "dns", "nodeport:30053/udp", forwardTo(model.MasqueradeAlways, "10.244.1.2:53", "10.244.2.2:53")).AffinityTimeoutSeconds = 10800
	put(&d, "lb", "nodeport:30443/tcp", all, local)
	put(&d, "none", "nodeport:30080/tcp", rejected)
	put(&d, "dns", "[fd00:96::10]:53/udp", forwardTo(model.MasqueradeUnlessPod, "[fd00:244::2]:53", "[fd00:244::3]:53")).AffinityTimeoutSeconds = 60
	put(&d, "dns", "nodeport6:30053/udp", forwardTo(model.MasqueradeAlways, "[fd00:244::2]:53"))
	f = put(&d, "lb6", "[2001:db8:2::7]:443/tcp", rejected)
	f.Restricted, f.Sources = true, []netip.Prefix{netip.MustParsePrefix("::/0"), netip.MustParsePrefix("2001:db8::1/128")}
	for i := range 40 { // more than fit into one chain, of addresses and of ports
		put(&d, fmt.Sprint("a", i), fmt.Sprintf("10.97.%d.%d:80/tcp", i%3, 16*i/3%256), dns)
		put(&d, fmt.Sprint("b", i), fmt.Sprintf("10.98.0.1:%d/%s", 100+i*i, []string{"tcp", "udp"}[i%2]), dns)
		put(&d, fmt.Sprint("c", i), fmt.Sprintf("[fd00:97::%x:%x]:80/tcp", i%7, 16*i), rejected)
		put(&d, fmt.Sprint("d", i), fmt.Sprintf("nodeport:%d/tcp", 31000+37*i), dns)
		d.LocalEndpoints[netip.AddrFrom4([4]byte{10, 244, 1, byte(i)})] = struct{}{}
	}
	d.LocalEndpoints[netip.MustParseAddr("fd00:244::2")] = struct{}{}
	for _, f := range d.Frontends {
		if !f.Key.IsNodePort() {
			d.ClusterIPs[f.Key.Address] = struct{}{}
		}
	}
	d.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr("192.168.0.2"), netip.MustParseAddr("fd00::2")}
	d.Node.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:244::/64")}
	d.Node.PodInterface, d.Node.PodInterfacePrefix = "pod", true
	d.Node.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/20"), netip.MustParsePrefix("fd00:96::/108")}
	d.Node.NodePortLocalhost = true
	for key, f := range d.Frontends {
		f.Restricted = f.Restricted || key.IsNodePort()
	}
	d.Node.NodePortsRestricted = true
	d.Node.NodePortSources = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("203.0.113.0/25"), netip.MustParsePrefix("2001:db8::/32")}
	return d
}
