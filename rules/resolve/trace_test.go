// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"testing"

	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// flow is a packet and what is expected to happen to it.
type flow struct {
	// from is pod, host, out, blocked, an address (a Pod's if it is in the Pod
	// CIDRs, else outside), or an address after "host ".
	from string
	// to is address:port/protocol; TCP if it names none.
	to string
	// want is the endpoints in order, followed by snat where the source address
	// is replaced; or REJECT, DROP, or pass for traffic that is left alone.
	want string
}

var clients = map[string]string{
	"pod":     "10.0.0.2",
	"host":    "host 192.168.0.2",
	"out":     "203.0.113.2",
	"blocked": "203.0.113.130",
}

// checkFlows follows packets through the desired rules, as a dataplane renders
// them: it knows nothing of Services.
func checkFlows(t *testing.T, node resolve.Node, desired model.Desired, flows []flow) {
	t.Helper()
	for _, f := range flows {
		if got := trace(t, node, desired, f.from, f.to); got != f.want {
			t.Errorf("%s -> %s: got %s, want %s", f.from, f.to, got, f.want)
		}
	}
}

func trace(t *testing.T, node resolve.Node, desired model.Desired, from, to string) string {
	t.Helper()
	text, host := strings.CutPrefix(cmp.Or(clients[from], from), "host ")
	source := Addr(text)
	contains := func(p netip.Prefix) bool { return p.Contains(source) }
	pod := !host && slices.ContainsFunc(desired.Node.PodCIDRs, contains)

	destination, protocol, _ := strings.Cut(to, "/")
	target := Endpoint(destination)
	f := lookup(node, desired, target, map[string]model.Protocol{"": model.TCP, "tcp": model.TCP, "udp": model.UDP, "sctp": model.SCTP}[protocol])
	if f == nil {
		if _, ours := desired.ClusterIPs[target.Addr()]; ours {
			return "REJECT"
		}
		return "pass"
	}
	sources := f.Sources
	if f.Key.IsNodePort() {
		sources = desired.Node.NodePortSources
	}
	if f.Restricted && !slices.ContainsFunc(sources, contains) && (!host || !f.Key.IsNodePort()) {
		return "DROP"
	}
	backend := f.External
	if pod || host {
		backend = f.Internal
	}
	switch backend.Verdict {
	case model.Reject:
		return "REJECT"
	case model.Drop:
		return "DROP"
	}
	var words []string
	for _, e := range backend.Endpoints {
		words = append(words, e.String())
	}
	_, local := desired.LocalEndpoints[source]
	hairpin := local && len(backend.Endpoints) == 1 && backend.Endpoints[0].Addr() == source
	if hairpin || backend.Masquerade == model.MasqueradeAlways || backend.Masquerade == model.MasqueradeUnlessPod && !pod {
		words = append(words, "snat")
	}
	return strings.Join(words, " ")
}

// lookup finds the frontend of a destination: its own, else a node port.
func lookup(node resolve.Node, desired model.Desired, to netip.AddrPort, protocol model.Protocol) *model.Frontend {
	if f := desired.Frontends[model.FrontendKey{Address: to.Addr(), Protocol: protocol, Port: to.Port()}]; f != nil {
		return f
	}
	s := desired.Node
	local := slices.Contains(node.Spec.Node.Addresses, to.Addr().String())
	inRange := slices.ContainsFunc(s.NodePortCIDRs, func(p netip.Prefix) bool { return p.Contains(to.Addr()) })
	answers := slices.Contains(s.NodePortAddresses, to.Addr()) || local && inRange ||
		s.NodePortLocalhost && protocol == model.TCP && to.Addr() == Addr("127.0.0.1")
	if !answers {
		return nil
	}
	return desired.Frontends[model.FrontendKey{Address: model.Unspecified(model.FamilyOf(to.Addr())), Protocol: protocol, Port: to.Port()}]
}
