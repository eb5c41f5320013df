// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"testing"

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

func clusterIP(endpoints ...string) model.Backend {
	return forwardTo(model.MasqueradeUnlessPod, endpoints...)
}

// put adds a frontend whose views are the same, or the second external.
func put(d *model.Desired, key string, b ...model.Backend) {
	f := &model.Frontend{Key: at(key), Internal: b[0], External: b[len(b)-1]}
	d.Frontends[f.Key] = f
}

// restrict limits a frontend to some sources.
func restrict(d *model.Desired, key string, sources ...string) {
	f := *d.Frontends[at(key)]
	f.Kind, f.Restricted, f.Sources = model.KindLoadBalancer, true, nil
	for _, s := range sources {
		f.Sources = append(f.Sources, netip.MustParsePrefix(s))
	}
	d.Frontends[f.Key] = &f
}

// stick gives a frontend affinity. Frontends with the same shared key, if it is
// not empty, have their clients in common.
func stick(d *model.Desired, key, shared string, seconds int32) {
	f := *d.Frontends[at(key)]
	if f.AffinityTimeoutSeconds, f.PortKey = seconds, (model.FrontendKey{}); shared != "" {
		f.PortKey = at(shared)
	}
	d.Frontends[f.Key] = &f
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
		put(&d, vip.String()+":80/tcp", clusterIP(endpoints...))
		d.ClusterIPs[vip] = struct{}{}
	}
	return d
}

func keys(d model.Desired) iter.Seq[model.FrontendKey] { return maps.Keys(d.Frontends) }

// mixed has one of everything, in both families.
func mixed() model.Desired {
	d := model.NewDesired()
	put(&d, "10.96.0.10:53/udp", clusterIP("10.244.1.2:53", "10.244.2.2:53"))
	put(&d, "10.96.0.10:53/tcp", clusterIP("10.244.1.2:53", "10.244.2.2:53"))
	put(&d, "10.96.0.20:80/tcp", rejected)
	put(&d, "10.96.0.21:80/sctp", dropped)
	put(&d, "192.0.2.7:443/tcp", forwardTo(model.MasqueradeUnlessPod, "10.244.1.3:8443", "10.244.2.3:8443"),
		forwardTo(model.MasqueradeNever, "10.244.1.3:8443"))
	put(&d, "192.0.2.8:443/tcp", forwardTo(model.MasqueradeAlways, "10.244.2.3:8443"), dropped)
	put(&d, "nodeport:30053/udp", forwardTo(model.MasqueradeAlways, "10.244.1.2:53", "10.244.2.2:53"))
	put(&d, "nodeport:30443/tcp", forwardTo(model.MasqueradeUnlessPod, "10.244.1.3:8443", "10.244.2.3:8443"),
		forwardTo(model.MasqueradeNever, "10.244.1.3:8443"))
	put(&d, "nodeport:30080/tcp", rejected)
	put(&d, "[fd00:96::10]:53/udp", clusterIP("[fd00:244::2]:53", "[fd00:244::3]:53", "[fd00:244::4]:53"))
	put(&d, "nodeport6:30053/udp", forwardTo(model.MasqueradeAlways, "[fd00:244::2]:53"))
	restrict(&d, "192.0.2.7:443/tcp", "10.0.0.0/8", "10.1.0.0/16", "203.0.113.0/25")
	restrict(&d, "192.0.2.8:443/tcp")
	put(&d, "[2001:db8:2::7]:443/tcp", rejected)
	restrict(&d, "[2001:db8:2::7]:443/tcp", "::/0", "2001:db8::1/128")
	stick(&d, "10.96.0.10:53/udp", "10.96.0.10:53/udp", 10800)
	stick(&d, "nodeport:30053/udp", "10.96.0.10:53/udp", 10800)
	stick(&d, "192.0.2.7:443/tcp", "", 60)
	stick(&d, "10.96.0.20:80/tcp", "", 60)
	stick(&d, "[fd00:96::10]:53/udp", "", 10800)
	stick(&d, "nodeport6:30053/udp", "[fd00:96::10]:53/udp", 10800)
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
	return d
}

// view of the kernel's content that does not depend on anything but the content.
func (d *Dataplane) dumpForTest(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, table := range d.tables {
		s, err := table.read(context.Background(), d.nft)
		if err != nil {
			t.Fatal(err)
		}
		if !s.exists || s.broken != "" || len(s.junk) > 0 {
			t.Fatalf("%s: exists %v, %s, junk %v", table, s.exists, s.broken, s.junk)
		}
		for name, have := range s.chains {
			out = append(out, fmt.Sprintf("%s chain %s %d rules", table, name, len(have)))
		}
		for key, h := range s.frontends {
			for v := range views {
				endpoints := slices.SortedFunc(slices.Values(h.views[v].endpoints), netip.AddrPort.Compare)
				out = append(out, fmt.Sprintf("%s %s view %d: %v %v", table, key, v, h.views[v].target.kind, endpoints))
			}
		}
		for key, h := range s.frontends {
			for v := range views {
				if h.affinity.IsValid() || h.views[v].affine != nil {
					choices := slices.SortedFunc(slices.Values(h.views[v].choices), netip.AddrPort.Compare)
					out = append(out, fmt.Sprintf("%s %s view %d affinity %s: %v, %v", table, key, v, h.affinity, choices, h.views[v].affine))
				}
			}
			if h.restricted || h.sources != nil {
				out = append(out, fmt.Sprintf("%s %s restricted %v: %v", table, key, h.restricted, h.sources))
			}
		}
		for set, addrs := range s.addrs {
			for a := range addrs {
				out = append(out, set.String()+" "+a.String())
			}
		}
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}
