// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package desiredtest

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// The verdicts of what has no endpoints.
var (
	Rejected = model.Backend{Verdict: model.Reject}
	Dropped  = model.Backend{Verdict: model.Drop}
)

// ClusterIP returns the backend of a cluster IP.
func ClusterIP(endpoints ...string) model.Backend {
	return ForwardTo(model.MasqueradeUnlessPod, endpoints...)
}

// Put adds a frontend whose views are the same, or the second external, which leads to
// the local list of the port.
func Put(d *model.Desired, key string, b ...model.Backend) {
	f := &model.Frontend{Key: At(key), Internal: b[0], External: b[len(b)-1]}
	f.External.Local = len(b) > 1 && f.External.Verdict == model.Forward
	d.Frontends[f.Key] = f
}

// Restrict limits a frontend to some sources.
func Restrict(d *model.Desired, key string, sources ...string) {
	f := *d.Frontends[At(key)]
	f.Kind, f.Restricted, f.Sources = model.KindLoadBalancer, true, nil
	for _, s := range sources {
		f.Sources = append(f.Sources, netip.MustParsePrefix(s))
	}
	d.Frontends[f.Key] = &f
}

// Stick gives a frontend affinity. Frontends with the same shared key, if it is
// not empty, are of one port.
func Stick(d *model.Desired, key, shared string, seconds int32) {
	f := *d.Frontends[At(key)]
	if f.AffinityTimeoutSeconds, f.PortKey = seconds, (model.FrontendKey{}); shared != "" {
		f.PortKey = At(shared)
	}
	d.Frontends[f.Key] = &f
}

// Several returns n services with m endpoints each.
func Several(n, m int) model.Desired {
	d := model.NewDesired()
	for i := range n {
		var endpoints []string
		for j := range m {
			endpoints = append(endpoints, fmt.Sprintf("10.%d.%d.%d:8080", 128+j, i/250, i%250+1))
		}
		vip := netip.AddrFrom4([4]byte{10, 96, byte(i / 250), byte(i%250 + 1)})
		Put(&d, vip.String()+":80/tcp", ClusterIP(endpoints...))
		d.ClusterIPs[vip] = struct{}{}
	}
	return d
}

// Keys are the keys of the frontends.
func Keys(d model.Desired) iter.Seq[model.FrontendKey] { return maps.Keys(d.Frontends) }

// Mixed has one of everything, in both families.
func Mixed() model.Desired {
	d := model.NewDesired()
	Put(&d, "10.96.0.10:53/udp", ClusterIP("10.244.1.2:53", "10.244.2.2:53"))
	Put(&d, "10.96.0.10:53/tcp", ClusterIP("10.244.1.2:53", "10.244.2.2:53"))
	Put(&d, "10.96.0.20:80/tcp", Rejected)
	Put(&d, "10.96.0.21:80/sctp", Dropped)
	Put(&d, "192.0.2.7:443/tcp", ForwardTo(model.MasqueradeUnlessPod, "10.244.1.3:8443", "10.244.2.3:8443"),
		ForwardTo(model.MasqueradeNever, "10.244.1.3:8443"))
	Put(&d, "192.0.2.8:443/tcp", ForwardTo(model.MasqueradeAlways, "10.244.2.3:8443"), Dropped)
	Put(&d, "nodeport:30053/udp", ForwardTo(model.MasqueradeAlways, "10.244.1.2:53", "10.244.2.2:53"))
	Put(&d, "nodeport:30443/tcp", ForwardTo(model.MasqueradeUnlessPod, "10.244.1.3:8443", "10.244.2.3:8443"),
		ForwardTo(model.MasqueradeNever, "10.244.1.3:8443"))
	Put(&d, "nodeport:30080/tcp", Rejected)
	Put(&d, "[fd00:96::10]:53/udp", ClusterIP("[fd00:244::2]:53", "[fd00:244::3]:53", "[fd00:244::4]:53"))
	Put(&d, "nodeport6:30053/udp", ForwardTo(model.MasqueradeAlways, "[fd00:244::2]:53", "[fd00:244::3]:53", "[fd00:244::4]:53"))
	Restrict(&d, "192.0.2.7:443/tcp", "10.0.0.0/8", "10.1.0.0/16", "203.0.113.0/25")
	Restrict(&d, "192.0.2.8:443/tcp")
	Put(&d, "[2001:db8:2::7]:443/tcp", Rejected)
	Restrict(&d, "[2001:db8:2::7]:443/tcp", "::/0", "2001:db8::1/128")
	Stick(&d, "10.96.0.10:53/udp", "10.96.0.10:53/udp", 10800)
	Stick(&d, "nodeport:30053/udp", "10.96.0.10:53/udp", 10800)
	Stick(&d, "192.0.2.7:443/tcp", "", 60)
	Stick(&d, "10.96.0.20:80/tcp", "", 60)
	Stick(&d, "[fd00:96::10]:53/udp", "", 10800)
	Stick(&d, "nodeport6:30053/udp", "[fd00:96::10]:53/udp", 10800)
	for _, f := range d.Frontends {
		if !f.Key.IsNodePort() {
			d.ClusterIPs[f.Key.Address] = struct{}{}
		}
	}
	for _, a := range []string{"10.244.1.2", "10.244.1.3", "fd00:244::2"} {
		d.LocalEndpoints[netip.MustParseAddr(a)] = struct{}{}
	}
	d.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr("192.168.0.2"), netip.MustParseAddr("fd00::2")}
	d.Node.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:244::/64")}
	d.Node.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/20"), netip.MustParsePrefix("fd00:96::/108")}
	d.Node.NodePortLocalhost = true
	for _, key := range []string{"nodeport:30053/udp", "nodeport:30080/tcp", "nodeport6:30053/udp"} {
		d.Frontends[At(key)].Restricted = true
	}
	d.Node.NodePortsRestricted = true
	d.Node.NodePortSources = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("203.0.113.0/25"), netip.MustParsePrefix("2001:db8::/32")}
	return d
}
