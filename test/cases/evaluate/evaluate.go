// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package evaluate follows packets through the desired rules of a node, as a
// dataplane renders them: it knows nothing of Services.
package evaluate

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/test/cases"
)

// Packet returns what happens to a packet on a node.
func Packet(desired model.Desired, p cases.Packet) cases.Outcome {
	f := lookup(desired, p)
	if f == nil {
		if _, ours := desired.ClusterIPs[p.Destination.Addr()]; ours {
			return cases.Outcome{Verdict: cases.Refused}
		}
		if within(desired.Node.ServiceCIDRs, p.Destination.Addr()) && !isLocal(p.Destination.Addr()) {
			return cases.Outcome{Verdict: cases.Dropped}
		}
		return cases.Outcome{Verdict: cases.Untouched}
	}
	if f.Restricted && !allowed(desired.Node, f, p) {
		return cases.Outcome{Verdict: cases.Dropped}
	}
	pod := fromPod(desired.Node, p)
	backend := f.External
	if pod || p.Client == cases.FromHost {
		backend = f.Internal
	}
	switch backend.Verdict {
	case model.Reject:
		return cases.Outcome{Verdict: cases.Refused}
	case model.Drop:
		return cases.Outcome{Verdict: cases.Dropped}
	}
	source := cases.Kept
	if backend.Masquerade == model.MasqueradeAlways || backend.Masquerade == model.MasqueradeUnlessPod && !pod {
		source = cases.Masqueraded
	}
	seen := map[netip.AddrPort]cases.Source{}
	for _, e := range backend.Endpoints {
		seen[e] = source
		if _, local := desired.LocalEndpoints[p.Source]; local && e.Addr() == p.Source {
			seen[e] = cases.Masqueraded
		}
	}
	return cases.Outcome{Verdict: cases.Forwarded, Seen: seen, Sticky: f.AffinityTimeoutSeconds > 0}
}

// allowed says whether the client of a packet may use a restricted frontend.
func allowed(s model.NodeSettings, f *model.Frontend, p cases.Packet) bool {
	if f.Key.IsNodePort() {
		return p.Client == cases.FromHost || within(s.NodePortSources, p.Source)
	}
	return within(f.Sources, p.Source)
}

// fromPod says whether the node takes a packet for one of its own Pods'.
func fromPod(s model.NodeSettings, p cases.Packet) bool {
	if p.Client == cases.FromHost {
		return false
	}
	link := cases.PodLink(p.Source)
	byLink := s.PodInterface == link || s.PodInterface != "" && s.PodInterfacePrefix && strings.HasPrefix(link, s.PodInterface)
	return byLink && p.Client == cases.FromPod || within(s.PodCIDRs, p.Source)
}

// lookup finds the frontend of a destination: its own, else a node port.
func lookup(desired model.Desired, p cases.Packet) *model.Frontend {
	to, s := p.Destination.Addr(), desired.Node
	key := model.FrontendKey{Address: to, Protocol: p.Protocol, Port: p.Destination.Port()}
	if f := desired.Frontends[key]; f != nil {
		return f
	}
	answers := slices.Contains(s.NodePortAddresses, to) || isLocal(to) && within(s.NodePortCIDRs, to) ||
		s.NodePortLocalhost && p.Protocol == model.TCP && to == netip.MustParseAddr("127.0.0.1")
	if !answers {
		return nil
	}
	key.Address = netip.IPv4Unspecified()
	if to.Is6() {
		key.Address = netip.IPv6Unspecified()
	}
	return desired.Frontends[key]
}

// isLocal says whether the node has an address, on another link than the loopback.
func isLocal(a netip.Addr) bool { return slices.Contains(cases.NodeAddresses, cases.Original(a)) }

func within(ranges []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
}
