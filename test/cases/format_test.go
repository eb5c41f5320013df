// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
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
		Destination: netip.MustParseAddrPort("127.0.0.1:80"), Protocol: model.UDP}
	if got := loaded[0].Flows[0].Packets(); len(got) != 2 || got[0] != want {
		t.Errorf("got %v, want first %v", got, want)
	}
}

// A case that is written wrongly must not pass for one that tests nothing.
func TestWrongCases(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown field":           {"proto:", "protocol:", `unknown field "protocol"`},
		"no name":                 {"name: X1", "description: X1", "has no name"},
		"unknown client":          {"[pod,", "[pots,", "from must be pod"},
		"no port":                 {"127.0.0.1:80", "127.0.0.1", "to an address with port"},
		"unknown protocol":        {"udp", "icmp", `proto "icmp"`},
		"unknown verdict":         {`{endpoints: ["10.180.0.1:80"], source: kept}`, "lost", `"lost" must be refused`},
		"no endpoints":            {`endpoints: ["10.180.0.1:80"], `, "", "either endpoints or oneOf"},
		"no source":               {", source: kept", "", "source must be kept or masqueraded"},
		"skipped for no reason":   {"  flows:", "  notYet: {nftables: \"\"}\n  flows:", "with a reason"},
		"skipped for no one":      {"  flows:", "  notYet: {bpf: soon}\n  flows:", "must be a runner"},
		"twice":                   {flow, flow + flow[1:], "two cases"},
		"no mode deviates":        {"source: kept}}", "source: kept}, kubeProxy: {reason: x}}", "a reason, and nftables or iptables"},
		"deviation for no reason": {"source: kept}}", "source: kept}, kubeProxy: {nftables: dropped}}", "must have a reason"},
		"no deviation": {"source: kept}}",
			`source: kept}, kubeProxy: {iptables: {endpoints: ["10.180.0.1:80"], source: kept}, reason: x}}`, "must differ"},
		"nothing to be outside": {"from: [pod,", "outOfWindow: below, from: [pod,", "outOfWindow needs again"},
		"we are not undefined":  {`{endpoints: ["10.180.0.1:80"], source: kept}`, "undefined", "for kubeProxy only"},
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
	p := cases.Packet{Client: cases.FromPod, Source: one.Addr(), Destination: two, Protocol: model.TCP}
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

// groups are the labels of the cases: how many there are of each letter, and the
// file that holds them.
var groups = map[string]struct {
	file string
	n    int
}{
	"T": {"topology", 22}, "C": {"clusterip", 11}, "I": {"internal-policy", 6}, "E": {"external-policy", 11},
	"K": {"external-policy", 3}, "D": {"terminating", 6}, "B": {"loadbalancer", 12}, "N": {"nodeport", 8},
	"A": {"affinity", 7}, "X": {"externalip", 1}, "F": {"conntrack", 10}, "H": {"health", 4}, "S": {"skips", 6},
}

// labels finds a label, or the first and the last of several, that a name starts with.
var labels = regexp.MustCompile(`^([A-Z])(\d+)(?:-[A-Z](\d+))? `)

// Every label has a case in the file of its letter, also of IPv6 unless all of
// its cases say why not.
func TestLabels(t *testing.T) {
	families := map[string]string{}
	for _, c := range all {
		m := labels.FindStringSubmatch(c.Name)
		if m == nil {
			continue // of none of the labels
		}
		first, _ := strconv.Atoi(m[2])
		last, _ := strconv.Atoi(cmp.Or(m[3], m[2]))
		if g := groups[m[1]]; c.Group != g.file || first < 1 || last > g.n {
			t.Errorf("%s: the labels of %s.yaml are %s1 to %s%d", c.Title(), g.file, m[1], m[1], g.n)
		}
		for i := first; i <= last; i++ {
			label := fmt.Sprint(m[1], i)
			families[label] += c.Family
			if c.V4Only != "" {
				families[label] += "IPv6" // its twin is the reason
			}
		}
	}
	for letter, g := range groups {
		for i := 1; i <= g.n; i++ {
			label := fmt.Sprint(letter, i)
			for _, family := range []string{"IPv4", "IPv6"} {
				if !strings.Contains(families[label], family) {
					t.Errorf("%s.yaml: no case has the label %s, with %s", g.file, label, family)
				}
			}
		}
	}
}

// Where kube-proxy's modes disagree, or we do better, a case shows what we do.
func TestDecisions(t *testing.T) {
	for decision, shownBy := range map[string][]string{
		"no usable endpoint anywhere: refused":                            {"clusterip/C9 no endpoints", "clusterip/C9 no endpoints of UDP", "terminating/D4 none is ready or serves"},
		"policy Local, endpoints only elsewhere: dropped":                 {"internal-policy/I4 Local, endpoints only elsewhere", "external-policy/E10 Local, endpoints only elsewhere"},
		"a ClusterIP's port that no Service has: refused":                 {"clusterip/C6 UDP to a port that is TCP only", "clusterip/C7 the port of another Service"},
		"an unused address of a ServiceCIDR: dropped":                     {"clusterip/C8 an address of the ServiceCIDR that no Service has"},
		"source ranges of the other family, or invalid: no one":           {"loadbalancer/B11 source ranges of the other family only", "loadbalancer/B11 invalid source ranges only"},
		"source ranges and no endpoints: first the source counts":         {"loadbalancer/B9 source ranges without endpoints"},
		"source ranges do not concern node ports":                         {"loadbalancer/B1-B6 source ranges"},
		"node ports answer on primary addresses":                          {"nodeport/N2 Primary"},
		"node ports on localhost: TCP of IPv4 where the policy says so":   {"nodeport/N4 Localhost", "nodeport/N4 Localhost never means ::1", "nodeport/N4 Localhost is for TCP only"},
		"the timeout of affinity is honoured":                             {"affinity/A2 a client that was away for the timeout may meet another", "affinity/A7 the timeout is changed"},
		"UDP flows are deleted with their endpoint":                       {"conntrack/F1 the endpoint is replaced", "conntrack/F9 a balancer's address is new", "conntrack/the Service is deleted"},
		"connections of TCP stay":                                         {"conntrack/F4 TCP connections stay"},
		"zeros and spaces in old objects do not reach the kernel as such": {"clusterip/C11 addresses with leading zeros", "loadbalancer/B1-B6 source ranges"},
	} {
		for _, title := range shownBy {
			if !slices.ContainsFunc(all, func(c cases.Case) bool { return c.Group+"/"+c.Name == title }) {
				t.Errorf("%s: no case %s", decision, title)
			}
		}
	}
}

// kube-proxy is held to what the case declares of its mode, and else to what it
// expects of us.
func TestKubeProxy(t *testing.T) {
	loaded, err := load(t, strings.Replace(flow, "source: kept}}",
		"source: kept}, kubeProxy: {nftables: dropped, iptables: undefined, reason: x}}", 1))
	if err != nil {
		t.Fatal(err)
	}
	if f := loaded[0].For(cases.KubeProxyNFTables).Flows; len(f) != 1 || f[0].Expect.Verdict != cases.Dropped {
		t.Errorf("nftables: got %v", f)
	}
	if f := loaded[0].For(cases.KubeProxyIPTables).Flows; len(f) != 0 {
		t.Errorf("iptables: got %v", f)
	}
	if f := loaded[0].Flows; len(f) != 1 || f[0].Expect.Verdict != cases.Forwarded {
		t.Errorf("ours: got %v", f)
	}
}
