// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const (
	ipvsMode     = v1alpha1.ModeIPVS
	nftablesMode = v1alpha1.ModeNFTables
)

var errNoModule = dataplane.Unsupported(errors.New("this kernel has no IPVS (module ip_vs)"))

// pretended makes the modes of kernels: NFTables unless it fails, and IPVS with some
// schedulers, or an error if that is nil.
func pretended(schedulers []string, nftables error) []dataplane.Mode {
	nft := fake.New()
	nft.Fail(fake.Probe, nftables)
	return []dataplane.Mode{ranked(1, fake.Mode(nftablesMode, dataplane.NAT, nft)), ranked(2, scheduling(schedulers))}
}

func ranked(rank int, m dataplane.Mode) dataplane.Mode {
	m.AutoRank = rank
	return m
}

// scheduling is a mode whose option is the scheduler.
func scheduling(schedulers []string) dataplane.Mode {
	kernel := fake.New()
	kernel.Schedulers = schedulers
	m := fake.Mode(ipvsMode, dataplane.LoadBalancer, kernel)
	m.Parse = parseScheduler
	if schedulers == nil {
		m.Open = func(dataplane.Env) (dataplane.Dataplane, error) { return nil, errNoModule }
	}
	return m
}

func parseScheduler(spec v1alpha1.NodeRuleSetSpec) (dataplane.Options, error) {
	if spec.IPVS == nil {
		return "rr", nil
	}
	return spec.IPVS.Scheduler, nil
}

func TestChooseMode(t *testing.T) {
	spec := func(modes ...v1alpha1.ProxyMode) v1alpha1.NodeRuleSetSpec {
		return v1alpha1.NodeRuleSetSpec{Mode: modes[0], FallbackModes: modes[1:]}
	}
	some := []string{"rr", "sh"}
	noNFTables := errors.New("no nftables")
	cases := map[string]struct {
		spec      v1alpha1.NodeRuleSetSpec
		scheduler string
		kernel    []dataplane.Mode
		want      v1alpha1.ProxyMode // empty: none
		skipped   string
		err       string
	}{
		"as asked for":           {spec(ipvsMode), "rr", pretended(some, nil), ipvsMode, "", ""},
		"auto":                   {spec(v1alpha1.ModeAuto), "rr", pretended(some, nil), nftablesMode, "", ""},
		"auto without nftables":  {spec(v1alpha1.ModeAuto), "rr", pretended(some, noNFTables), ipvsMode, "NFTables: no nftables", ""},
		"no module":              {spec(ipvsMode), "rr", pretended(nil, nil), "", "", "IPVS: this kernel has no IPVS (module ip_vs)"},
		"no module, falls back":  {spec(ipvsMode, nftablesMode), "rr", pretended(nil, nil), nftablesMode, "IPVS: this kernel has no IPVS (module ip_vs)", ""},
		"no scheduler":           {spec(ipvsMode), "fo", pretended(some, nil), "", "", "IPVS: this kernel has no scheduler fo (module ip_vs_fo)"},
		"no scheduler at all":    {spec(ipvsMode), "rr", pretended([]string{}, nil), "", "", "module ip_vs_rr"},
		"no scheduler, fallback": {spec(ipvsMode, nftablesMode), "fo", pretended(some, nil), nftablesMode, "module ip_vs_fo", ""},
		"another's scheduler":    {spec(nftablesMode), "fo", pretended(some, nil), nftablesMode, "", ""},
		"not built":              {spec(v1alpha1.ModeUserspace, nftablesMode), "rr", pretended(some, nil), nftablesMode, "Userspace: not implemented", ""},
		"nothing at all":         {spec(ipvsMode, nftablesMode), "rr", pretended(nil, noNFTables), "", "", "NFTables: no nftables"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tc.spec.IPVS = &v1alpha1.IPVSOptions{Scheduler: tc.scheduler}
			m := newNodeModes(tc.kernel, dataplane.Env{}, clock.RealClock{})
			want, err := m.demand(tc.spec)
			if err != nil {
				t.Fatal(err)
			}
			dp, skipped, err := m.choose(t.Context(), want, nil)
			if (dp == nil) != (tc.want == "") || dp != nil && dp.Mode() != tc.want {
				t.Errorf("got %v, want %q", dp, tc.want)
			}
			if errors.Is(err, errUnsupported) != (tc.err != "") {
				t.Errorf("error %v", err)
			}
			for _, c := range []struct {
				err  error
				want string
			}{{skipped, tc.skipped}, {err, tc.err}} {
				if (c.err != nil) != (c.want != "") || c.err != nil && !strings.Contains(c.err.Error(), c.want) {
					t.Errorf("got %v, want %q", c.err, c.want)
				}
			}
		})
	}
}

// TestWait is when failed modes are tried again: those that come after the running one are not,
// so they must not wake the loop.
func TestWait(t *testing.T) {
	now := time.Unix(1000, 0)
	const iptablesMode = v1alpha1.ModeIPTables
	justNow := errors.New("no memory")
	cases := map[string]struct {
		failed  map[v1alpha1.ProxyMode]error
		running v1alpha1.ProxyMode
		after   time.Duration // since they failed
		want    time.Duration // -1: none has failed
	}{
		"nothing has failed":      {nil, nftablesMode, 0, -1},
		"the first":               {map[v1alpha1.ProxyMode]error{ipvsMode: errNoModule}, nftablesMode, 0, 10 * time.Minute},
		"some time later":         {map[v1alpha1.ProxyMode]error{ipvsMode: errNoModule}, nftablesMode, time.Minute, 9 * time.Minute},
		"it is due":               {map[v1alpha1.ProxyMode]error{ipvsMode: errNoModule}, nftablesMode, time.Hour, 0},
		"the running one":         {map[v1alpha1.ProxyMode]error{nftablesMode: errNoModule}, nftablesMode, 0, 10 * time.Minute},
		"after the running one":   {map[v1alpha1.ProxyMode]error{iptablesMode: errNoModule}, nftablesMode, time.Hour, -1},
		"the first runs":          {map[v1alpha1.ProxyMode]error{nftablesMode: errNoModule, iptablesMode: justNow}, ipvsMode, time.Hour, -1},
		"the sooner, before":      {map[v1alpha1.ProxyMode]error{ipvsMode: justNow, nftablesMode: errNoModule}, iptablesMode, 0, time.Second},
		"the sooner, the second":  {map[v1alpha1.ProxyMode]error{ipvsMode: errNoModule, nftablesMode: justNow}, iptablesMode, 0, time.Second},
		"none runs":               {map[v1alpha1.ProxyMode]error{iptablesMode: errNoModule}, "", 0, 10 * time.Minute},
		"a mode not asked for":    {map[v1alpha1.ProxyMode]error{v1alpha1.ModeUserspace: errNoModule}, "", 0, -1},
		"one runs that is not so": {map[v1alpha1.ProxyMode]error{iptablesMode: errNoModule}, v1alpha1.ModeUserspace, 0, 10 * time.Minute},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakePassiveClock(now)
			m := newNodeModes(nil, dataplane.Env{}, clk)
			for mode, err := range tc.failed {
				m.failed(mode, nil, err)
			}
			clk.SetTime(now.Add(tc.after))
			var running *openMode
			if tc.running != "" {
				running = &openMode{mode: dataplane.Mode{Name: tc.running}}
			}
			got, failed := m.wait(demand{modes: []v1alpha1.ProxyMode{ipvsMode, nftablesMode, iptablesMode}}, running)
			if failed != (tc.want >= 0) || failed && (got < tc.want || got > tc.want+tc.want/10) {
				t.Errorf("waits %v (failed: %v), want %v and up to a tenth of jitter", got, failed, tc.want)
			}
		})
	}
}

// varied has variants.
func varied() dataplane.Mode {
	kernel := fake.New()
	kernel.Variant = "nft, iptables v1.8.9"
	return fake.Mode(v1alpha1.ModeIPTables, dataplane.NAT, kernel)
}

func TestCapabilities(t *testing.T) {
	cases := map[string]struct {
		kernel []dataplane.Mode
		want   []v1alpha1.ModeCapability
	}{
		"everything": {pretended([]string{"rr", "mh"}, nil), []v1alpha1.ModeCapability{
			{Mode: ipvsMode, Supported: true, Schedulers: []string{"rr", "mh"}}, {Mode: nftablesMode, Supported: true}}},
		"no ip_vs": {pretended(nil, nil), []v1alpha1.ModeCapability{
			{Mode: ipvsMode, Message: errNoModule.Error()}, {Mode: nftablesMode, Supported: true}}},
		"with variants": {[]dataplane.Mode{varied()}, []v1alpha1.ModeCapability{{Mode: v1alpha1.ModeIPTables, Supported: true, Variant: "nft, iptables v1.8.9"}}},
		"old and talkative": {pretended(nil, errors.New("one\n"+strings.Repeat("x", 1000))), []v1alpha1.ModeCapability{
			{Mode: ipvsMode, Message: errNoModule.Error()},
			{Mode: nftablesMode, Message: "one; " + strings.Repeat("x", 247) + " ..."}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := newNodeModes(tc.kernel, dataplane.Env{}, clock.RealClock{})
			if err := m.survey(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, m.capabilities()); diff != "" {
				t.Errorf("capabilities (-want +got):\n%s", diff)
			}
		})
	}
}

// asking is the node's rules in a generation that asks for a mode.
func asking(generation int64, scheduler string, modes ...v1alpha1.ProxyMode) *source.NodeRules {
	n := testNodeRules(generation)
	n.Spec.Mode, n.Spec.FallbackModes = modes[0], modes[1:]
	n.Spec.IPVS = &v1alpha1.IPVSOptions{Scheduler: scheduler}
	return n
}

// TestLoopProbesWhenAsked counts probes: a change of the policy that does not concern the
// mode makes none.
func TestLoopProbesWhenAsked(t *testing.T) {
	h := newHarness(t)
	opened := 0
	missing := scheduling(nil)
	missing.Open = func(dataplane.Env) (dataplane.Dataplane, error) { opened++; return nil, errNoModule }
	h.add(missing)
	h.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	h.store.SetNode(asking(2, "rr", ipvsMode, nftablesMode))
	h.step(t.Context())
	if h.last.Mode() != nftablesMode || !errors.Is(h.last.Problem(report.FallbackMode), errNoModule) {
		t.Fatalf("runs %s, skipped %v", h.last.Mode(), h.last.Problem(report.FallbackMode))
	}
	same := asking(3, "rr", ipvsMode, nftablesMode)
	same.Spec.Masquerade.All = new(true)
	h.store.SetNode(same)
	h.step(t.Context())
	if opened != 1 || h.kernel.Count(fake.Probe) != 1 || h.kernel.Count(fake.Close) != 0 {
		t.Errorf("%d probes of IPVS, %d of NFTables, want one each", opened, h.kernel.Count(fake.Probe))
	}
	want := []v1alpha1.ModeCapability{{Mode: ipvsMode, Message: errNoModule.Error()}, {Mode: nftablesMode, Supported: true}}
	if diff := cmp.Diff(want, report.StatusOf(h.last, nil, metav1.Now()).Capabilities); diff != "" {
		t.Errorf("capabilities (-want +got):\n%s", diff)
	}
	h.store.SetNode(asking(4, "sh", ipvsMode, nftablesMode))
	h.step(t.Context())
	if opened != 2 || h.last.Problem(report.ModeUnsupported) != nil {
		t.Errorf("%d probes of IPVS and error %v, want another one when it is asked for anew", opened, h.last.Problem(report.ModeUnsupported))
	}
}

// TestLoopKeepsItsScheduler asks a running node for a scheduler that its kernel does not
// support: it reports that, and keeps its scheduler.
func TestLoopKeepsItsScheduler(t *testing.T) {
	h := newHarness(t)
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	h.clock, h.modes.clock = clk, clk
	kernel := fake.New()
	kernel.Schedulers = []string{"rr", "sh"}
	mode := fake.Mode(ipvsMode, dataplane.LoadBalancer, kernel)
	mode.Parse = parseScheduler
	h.add(mode)
	h.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	h.store.SetNode(asking(2, "rr", ipvsMode))
	h.step(t.Context())
	if got := h.last.Capabilities[0].Schedulers; len(got) != 2 {
		t.Errorf("schedulers %v, want all, not just what was asked for", got)
	}
	h.store.SetNode(asking(3, "fo", ipvsMode))
	h.step(t.Context())
	if h.last.Problem(report.ModeUnsupported) == nil || !strings.Contains(h.last.Problem(report.ModeUnsupported).Error(), "ip_vs_fo") {
		t.Errorf("got %v, want the missing module", h.last.Problem(report.ModeUnsupported))
	}
	if got := kernel.Options(); got != "rr" || h.last.Problem(report.KernelError) != nil {
		t.Errorf("scheduler %s, error %v; want rr to stay", got, h.last.Problem(report.KernelError))
	}
	// The module is installed: it is found when it is tried again.
	kernel.Schedulers = append(kernel.Schedulers, "fo")
	clk.Step(time.Hour)
	h.step(t.Context())
	if got := kernel.Options(); got != "fo" || h.last.Problem(report.ModeUnsupported) != nil {
		t.Errorf("scheduler %s, error %v; want fo", got, h.last.Problem(report.ModeUnsupported))
	}
	h.store.SetNode(asking(4, "sed", ipvsMode, nftablesMode))
	h.step(t.Context())
	if h.last.Mode() != nftablesMode || h.last.Problem(report.ModeUnsupported) != nil {
		t.Errorf("runs %s, error %v; want the fallback mode", h.last.Mode(), h.last.Problem(report.ModeUnsupported))
	}
}
