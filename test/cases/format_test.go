// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules"
	"github.com/fairlead-proxy/fairlead/test/cases"
)

// load reads a file of one case.
func load(t *testing.T, text string) ([]cases.Case, error) {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "group.yaml"), []byte("cases:\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return cases.Load(folder)
}

const flow = `
- name: X1
  services:
  - {name: web, clusterIP: 172.30.0.41, loadBalancerSourceRanges: [0.0.0.0/0, 203.0.113.0/25], endpoints: [Lt 10.180.0.1]}
  flows:
  - {from: [pod, host 1.2.3.4], to: "127.0.0.1:80", proto: udp, expect: {endpoints: ["10.180.0.1:80"], source: kept}}
`

func TestTwin(t *testing.T) {
	loaded, err := load(t, flow)
	if err != nil || len(loaded) != 2 || loaded[0].Family != "IPv4" || loaded[1].Family != "IPv6" {
		t.Fatal(loaded, err)
	}
	c := loaded[1]
	svc, f := c.Services[0], c.Flows[0]
	got := strings.Join([]string{svc.ClusterIP, svc.LoadBalancerSourceRanges[0], svc.LoadBalancerSourceRanges[1],
		svc.Endpoints[0], f.To[0], f.From[1], f.Expect.Endpoints[0].String()}, "; ")
	want := "fd64::ac1e:29; ::/0; fd64::cb00:7100/121; Lt fd64::ab4:1; [::1]:80; host fd64::102:304; [fd64::ab4:1]:80"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, a := range []string{"10.180.0.1", "127.0.0.1"} {
		if v4 := netip.MustParseAddr(a); cases.Original(cases.Twin(v4)) != v4 {
			t.Errorf("the original of the twin of %s is another", a)
		}
	}
	if loaded, err := load(t, flow+"  v4only: why not\n"); err != nil || len(loaded) != 1 {
		t.Error(loaded, err)
	}
}

func TestPackets(t *testing.T) {
	loaded, err := load(t, flow)
	if err != nil {
		t.Fatal(err)
	}
	want := cases.Packet{Client: cases.FromPod, Source: netip.MustParseAddr("10.0.0.2"),
		Destination: netip.MustParseAddrPort("127.0.0.1:80"), Protocol: rules.UDP}
	if got := loaded[0].Flows[0].Packets(); len(got) != 2 || got[0] != want {
		t.Errorf("got %v, want first %v", got, want)
	}
}

// A case that is written wrongly must not pass for one that tests nothing.
func TestWrongCases(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown field":         {"proto:", "protocol:", `unknown field "protocol"`},
		"no name":               {"name: X1", "description: X1", "has no name"},
		"unknown client":        {"[pod,", "[pots,", "from must be pod"},
		"no port":               {"127.0.0.1:80", "127.0.0.1", "to an address with port"},
		"unknown protocol":      {"udp", "icmp", `proto "icmp"`},
		"unknown verdict":       {`{endpoints: ["10.180.0.1:80"], source: kept}`, "lost", `"lost" must be refused`},
		"no endpoints":          {`endpoints: ["10.180.0.1:80"], `, "", "either endpoints or oneOf"},
		"no source":             {", source: kept", "", "source must be kept or masqueraded"},
		"skipped for no reason": {"  flows:", "  notYet: {nftables: \"\"}\n  flows:", "with a reason"},
		"skipped for nobody":    {"  flows:", "  notYet: {ipvs: soon}\n  flows:", "must be a runner"},
		"twice":                 {flow, flow + flow[1:], "two cases"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(flow, c.old, c.new, 1)
			if text == flow {
				t.Fatal("nothing replaced")
			}
			if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// The outcome that a runner found must be the expected one in every respect.
func TestCheck(t *testing.T) {
	one, two := netip.MustParseAddrPort("10.180.0.1:80"), netip.MustParseAddrPort("10.180.0.2:80")
	p := cases.Packet{Client: cases.FromPod, Source: one.Addr(), Destination: two, Protocol: rules.TCP}
	want := cases.Expect{Verdict: cases.Forwarded, Endpoints: []netip.AddrPort{one, two}, Source: cases.Kept}
	seen := func(o cases.Source, t cases.Source) map[netip.AddrPort]cases.Source {
		return map[netip.AddrPort]cases.Source{one: o, two: t}
	}
	for name, c := range map[string]struct {
		got  cases.Outcome
		fits bool
	}{
		"an endpoint never sees itself": {cases.Outcome{Verdict: cases.Forwarded, Seen: seen(cases.Masqueraded, cases.Kept)}, true},
		"it does":                       {cases.Outcome{Verdict: cases.Forwarded, Seen: seen(cases.Kept, cases.Kept)}, false},
		"another source":                {cases.Outcome{Verdict: cases.Forwarded, Seen: seen(cases.Masqueraded, cases.Masqueraded)}, false},
		"one is missing":                {cases.Outcome{Verdict: cases.Forwarded, Seen: map[netip.AddrPort]cases.Source{two: cases.Kept}}, false},
		"refused":                       {cases.Outcome{Verdict: cases.Refused}, false},
		"sticky":                        {cases.Outcome{Verdict: cases.Forwarded, Seen: seen(cases.Masqueraded, cases.Kept), Sticky: true}, false},
	} {
		if err := want.Check(p, c.got); (err == nil) != c.fits {
			t.Errorf("%s: %v", name, err)
		}
	}
}
