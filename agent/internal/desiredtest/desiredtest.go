// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package desiredtest builds desired states for tests, and syncs them.
package desiredtest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// At parses for example "10.96.0.10:53/udp" and "nodeport:30000/tcp" (IPv4) or
// "nodeport6:30000/tcp".
func At(s string) model.FrontendKey {
	addr, proto, _ := strings.Cut(s, "/")
	addr = strings.Replace(addr, "nodeport6:", "[::]:", 1)
	addr = strings.Replace(addr, "nodeport:", "0.0.0.0:", 1)
	ap := netip.MustParseAddrPort(addr)
	protocol := map[string]model.Protocol{"tcp": model.TCP, "udp": model.UDP, "sctp": model.SCTP}[proto]
	return model.FrontendKey{Address: ap.Addr(), Port: ap.Port(), Protocol: protocol}
}

// ForwardTo returns the backend with some endpoints.
func ForwardTo(m model.Masquerade, endpoints ...string) model.Backend {
	b := model.Backend{Verdict: model.Forward, Masquerade: m}
	for _, e := range endpoints {
		b.Endpoints = append(b.Endpoints, netip.MustParseAddrPort(e))
	}
	slices.SortFunc(b.Endpoints, netip.AddrPort.Compare)
	return b
}

// Sync calls a dataplane's Sync, which must not fail.
func Sync(t testing.TB, d dataplane.Dataplane, desired model.Desired) dataplane.Result {
	t.Helper()
	stats, err := d.Sync(t.Context(), desired, nil)
	if err != nil {
		t.Fatal("Sync:", err)
	}
	stats.Reading = 0 // never the same
	return stats
}

// Apply calls a dataplane's Apply, which must not fail.
func Apply(t testing.TB, d dataplane.Dataplane, delta model.Delta) dataplane.Result {
	t.Helper()
	stats, err := d.Apply(t.Context(), delta)
	if err != nil {
		t.Fatal("Apply:", err)
	}
	return stats
}

// Unsupported formats the limitations of a result, one per line: the reason, the number of
// frontends, those that are named, and the message.
func Unsupported(r dataplane.Result) string {
	var lines []string
	for _, l := range r.Unsupported {
		lines = append(lines, fmt.Sprintf("%s %d %v: %s", l.Reason, l.Count, l.Frontends, l.Message))
	}
	return strings.Join(lines, "\n")
}
