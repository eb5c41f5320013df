// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Endpoints of the Services below, and where Serve is to be called.
var podEndpoints = []string{"10.244.1.2:8080", "10.244.1.3:8080", "10.244.1.4:8080", "[fd00:244::2]:8080", "[fd00:244::3]:8080"}

var (
	at       = desiredtest.At
	both     = desiredtest.ForwardTo(model.MasqueradeUnlessPod, "10.244.1.2:8080", "10.244.1.3:8080")
	second   = desiredtest.ForwardTo(model.MasqueradeNever, "10.244.1.3:8080") // the local one
	both6    = desiredtest.ForwardTo(model.MasqueradeUnlessPod, "[fd00:244::2]:8080", "[fd00:244::3]:8080")
	rejected = model.Backend{Verdict: model.Reject}
	dropped  = model.Backend{Verdict: model.Drop}
)

// put adds a frontend of a Service's port whose views are the same, or the second
// external. The first frontend of a Service is the one that the others have as PortKey.
func put(d *model.Desired, service, key string, b ...model.Backend) *model.Frontend {
	f := &model.Frontend{Key: at(key), Kind: model.KindClusterIP, PortName: "http", Internal: b[0], External: b[len(b)-1]}
	f.Service = model.ServiceID{Namespace: "default", Name: service, Family: model.FamilyOf(f.Key.Address)}
	f.PortKey = f.Key
	if f.Key.IsNodePort() {
		f.Kind = model.KindNodePort
	}
	if f.Key.Protocol == model.UDP {
		f.Serving = f.Internal.Endpoints
	}
	d.Frontends[f.Key] = f
	if f.Kind == model.KindClusterIP {
		d.ClusterIPs[f.Key.Address] = struct{}{}
	}
	return f
}

// also adds another frontend of a port.
func also(d *model.Desired, first *model.Frontend, key string, kind model.Kind) *model.Frontend {
	f := *first
	f.Key, f.Kind, f.PortKey = at(key), kind, first.Key
	d.Frontends[f.Key] = &f
	return &f
}

// empty is a node without Services.
func empty() model.Desired {
	d := model.NewDesired()
	d.Node.NodePortAddresses = nodeAddresses
	d.Node.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/32")}
	d.Node.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/108")}
	return d
}

// Everything has one of everything that a node may have to program, in both families.
func Everything() model.Desired {
	d := empty()
	web := put(&d, "web", "10.96.0.1:80/tcp", both)
	also(&d, web, "192.0.2.1:80/tcp", model.KindExternalIP) // the same endpoints
	also(&d, web, "nodeport:30080/tcp", model.KindNodePort)
	put(&d, "dns", "10.96.0.2:53/udp", both)
	put(&d, "dns", "10.96.0.2:53/tcp", both)
	put(&d, "sctp", "10.96.0.3:80/sctp", both)
	put(&d, "none", "10.96.0.4:80/tcp", rejected)
	put(&d, "none-udp", "10.96.0.4:80/udp", rejected)
	put(&d, "drop", "10.96.0.5:80/tcp", dropped)
	sticky := put(&d, "sticky", "10.96.0.6:80/tcp", both)
	sticky.AffinityTimeoutSeconds = 10800
	also(&d, sticky, "nodeport:30081/tcp", model.KindNodePort)

	local := put(&d, "local", "10.96.0.7:80/tcp", both)
	balancer := also(&d, local, "192.0.2.7:80/tcp", model.KindLoadBalancer)
	balancer.External = second
	balancer.External.Local = true
	elsewhere := also(&d, local, "192.0.2.8:80/tcp", model.KindLoadBalancer)
	elsewhere.External = dropped

	denied := put(&d, "denied", "192.0.2.9:80/tcp", both) // restricted, without sources
	denied.Kind, denied.Restricted = model.KindLoadBalancer, true
	allowed := put(&d, "allowed", "192.0.2.10:80/tcp", both)
	allowed.Kind, allowed.Restricted = model.KindLoadBalancer, true
	allowed.Sources = []netip.Prefix{netip.MustParsePrefix("203.0.113.2/32"), netip.MustParsePrefix("203.0.113.2/31"), netip.MustParsePrefix("198.51.100.0/25")}
	for _, f := range []*model.Frontend{denied, allowed} {
		delete(d.ClusterIPs, f.Key.Address)
	}

	web6 := put(&d, "web", "[fd00:96::1]:80/tcp", both6)
	also(&d, web6, "nodeport6:30080/tcp", model.KindNodePort)
	put(&d, "dns", "[fd00:96::2]:53/udp", both6)
	put(&d, "none", "[fd00:96::4]:80/tcp", rejected)
	for _, a := range []string{"10.244.1.2", "10.244.1.3", "fd00:244::2"} {
		d.LocalEndpoints[netip.MustParseAddr(a)] = struct{}{}
	}
	d.Node.NodePortLocalhost = true
	RestrictNodePorts(&d, "203.0.113.2/32", "2001:db8::/64", "198.51.100.0/25")
	return d
}

// RestrictNodePorts lets only some sources use node ports.
func RestrictNodePorts(d *model.Desired, sources ...string) {
	d.Node.NodePortsRestricted, d.Node.NodePortSources = true, nil
	for _, s := range sources {
		d.Node.NodePortSources = append(d.Node.NodePortSources, netip.MustParsePrefix(s))
	}
	for key, f := range d.Frontends {
		if key.IsNodePort() {
			restricted := *f
			restricted.Restricted = true
			d.Frontends[key] = &restricted
		}
	}
}

// few is a small part of it, IPv4 only.
func few() model.Desired {
	d := empty()
	web := put(&d, "web", "10.96.0.1:80/tcp", both)
	also(&d, web, "nodeport:30080/tcp", model.KindNodePort)
	put(&d, "none", "10.96.0.4:80/tcp", rejected)
	d.Node.NodePortLocalhost = true
	return d
}

// without is desired without a Service.
func without(desired model.Desired, service string) model.Desired {
	d := desired.Clone()
	for key, f := range d.Frontends {
		if f.Service.Name == service {
			delete(d.Frontends, key)
			delete(d.ClusterIPs, key.Address)
		}
	}
	return d
}

// withEndpoint is desired with another second endpoint of a Service of IPv4.
func withEndpoint(desired model.Desired, service, endpoint string) model.Desired {
	d := desired.Clone()
	for key, f := range d.Frontends {
		if f.Service.Name == service && key.Address.Is4() {
			other := *f
			other.Internal.Endpoints = slices.Clone(f.Internal.Endpoints)
			other.Internal.Endpoints[1] = netip.MustParseAddrPort(endpoint)
			other.External.Endpoints = other.Internal.Endpoints
			d.Frontends[key] = &other
		}
	}
	return d
}

// withAnother is desired with one more Service.
func withAnother(desired model.Desired) model.Desired {
	d := desired.Clone()
	addService(&d, 99, "10.244.1.2:8080")
	return d
}

// services are n Services with three endpoints.
func services(n int) model.Desired {
	d := empty()
	for i := range n {
		addService(&d, i, "10.244.1.2:8080", fmt.Sprintf("10.128.%d.%d:8080", i/250, i%250+1), fmt.Sprintf("10.129.%d.%d:8080", i/250, i%250+1))
	}
	return d
}

func addService(d *model.Desired, i int, endpoints ...string) {
	put(d, fmt.Sprint("web-", i), virtualAddress(i)+":80/tcp", desiredtest.ForwardTo(model.MasqueradeUnlessPod, endpoints...))
}

// virtualAddress is that of a Service.
func virtualAddress(i int) string { return fmt.Sprintf("10.96.%d.%d", i/250, i%250+1) }
