// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Packets go where every frontend of Everything says, from outside, from a Pod and from
// the node. Limitations of the mode are left out.
func testPackets(t *testing.T, s Subject) {
	n := s.node(t)
	n.Serve(podEndpoints...)
	d := s.start(n)
	want := Everything()
	result := synced(t, d, want)
	left := map[model.FrontendKey]bool{}
	for _, l := range result.Unsupported {
		for _, key := range l.Frontends {
			left[key] = true
		}
	}
	for key, f := range want.Frontends {
		if key.Protocol == model.SCTP || left[key] {
			continue
		}
		for _, to := range placesOf(key) {
			n.wantBackend(n.Outside, to, f, f.External)
			n.wantBackend(n.Client, to, f, f.Internal)
			n.wantBackend(n.Space, to, f, f.Internal)
		}
	}
	n.wantAffinity(want, left)
	for _, to := range []string{"10.96.200.1:80", "10.96.0.1:81"} { // no Service has them
		if got, _ := n.meet(n.Outside, "tcp", to, 1, silence); got == served {
			t.Errorf("%s is %s", to, got)
		}
	}
	if _, localhost := limits(t, result)["NodePortLocalhost"]; !localhost {
		if got, _ := n.meet(n.Space, "tcp", "127.0.0.1:30080", 2, served); got != served {
			t.Errorf("127.0.0.1:30080 is %s", got)
		}
	}
}

// placesOf returns where a frontend answers.
func placesOf(key model.FrontendKey) (out []model.FrontendKey) {
	if !key.IsNodePort() {
		return []model.FrontendKey{key}
	}
	for _, a := range nodeAddresses {
		if a.Is4() == key.Address.Is4() {
			key.Address = a
			out = append(out, key)
		}
	}
	return out
}

// wantBackend checks what clients somewhere meet at one place of a frontend.
func (n *Node) wantBackend(from *netnstest.Space, to model.FrontendKey, f *model.Frontend, b model.Backend) {
	n.T.Helper()
	want := map[model.Verdict]answer{model.Forward: served, model.Reject: refused, model.Drop: silence}[b.Verdict]
	switch {
	case f.Restricted && f.Key.IsNodePort() && from == n.Client, // see Everything
		f.Restricted && !f.Key.IsNodePort() && (from != n.Outside || len(f.Sources) == 0):
		want = silence
	}
	times := 1
	if want == served {
		times = 3
	}
	address, network, _ := strings.Cut(to.String(), "/")
	got, endpoints := n.meet(from, network, address, times, want)
	if got != want {
		n.T.Errorf("%s (%s) from %s: %s, want %s", f.Key, to, n.name(from), got, want)
	}
	for e := range endpoints {
		if !slices.ContainsFunc(b.Endpoints, func(o model.Endpoint) bool { return o.String() == e }) {
			n.T.Errorf("%s (%s) from %s leads to %s, want one of %v", f.Key, to, n.name(from), e, b.Endpoints)
		}
	}
}

func (n *Node) name(s *netnstest.Space) string {
	return map[*netnstest.Space]string{n.Space: "the node", n.Client: "a Pod", n.Outside: "outside"}[s]
}

// wantAffinity checks that a client stays with its endpoint, at both frontends of a port.
func (n *Node) wantAffinity(want model.Desired, left map[model.FrontendKey]bool) {
	n.T.Helper()
	if left[at("10.96.0.6:80/tcp")] || want.Frontends[at("10.96.0.6:80/tcp")] == nil {
		return
	}
	for _, to := range []string{"10.96.0.6:80", net.JoinHostPort(nodeAddresses[0].String(), "30081")} {
		if _, endpoints := n.meet(n.Outside, "tcp", to, 12, served); len(endpoints) != 1 {
			n.T.Errorf("with affinity %s leads to %v", to, endpoints)
		}
	}
}

// Limitations are reported with the frontends and Services, also when Apply adds or
// removes them; and without Services none is left.
func testLimitations(t *testing.T, s Subject) {
	n := s.node(t)
	d := s.start(n)
	nothing, want := empty(), Everything()
	nothing.Node = want.Node
	none := limits(t, synced(t, d, nothing))
	for reason := range none {
		if len(s.Limits[reason]) > 0 {
			t.Errorf("%s is reported without Services", reason)
		}
	}
	before := n.Dump()
	same(t, "not programmed, after Apply", s.Limits, limits(t, apply(t, d, nothing, want)))
	same(t, "not programmed, after Sync", s.Limits, limits(t, synced(t, d, want)))
	programmed := n.Dump()
	if slices.Equal(before, programmed) {
		t.Error("Apply changes nothing in the kernel")
	}
	closed(t, d)
	d = s.start(n)
	s.adopted(t, d, want)
	sameDump(t, "Apply and Sync do not agree", programmed, n.Dump())
	same(t, "not programmed, without Services", none, limits(t, apply(t, d, want, nothing)))
	sameDump(t, "left of the Services", before, n.Dump())
	settings := want.Clone()
	settings.Node.NodePortLocalhost, settings.Node.ServiceCIDRs = false, nil
	apply(t, d, nothing, settings)
	closed(t, d)
	s.adopted(t, s.start(n), settings)
}
