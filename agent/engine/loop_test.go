// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// harness is a loop over a pretended kernel, stepped by the test.
type harness struct {
	*Loop
	kernel *fake.Dataplane
	proxy  *fakeKubeProxy
	last   report.Snapshot
}

func newHarness(t *testing.T) *harness { return newHarnessAt(t, clock.RealClock{}) }

func newHarnessAt(t *testing.T, clk clock.Clock) *harness {
	h := &harness{kernel: fake.New(), proxy: &fakeKubeProxy{}}
	in := source.NewStore(clk.Now)
	// By this clock the journal waits for the disk, however slow it is.
	cp, err := state.OpenJournal(t.TempDir(), in.Snapshot, in.Wake, clocktesting.NewFakeClock(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	revisions := state.OpenTrial(t.TempDir(), in.Wake, clocktesting.NewFakeClock(time.Now()))
	t.Cleanup(func() { cp.Close(); revisions.Close() })
	h.Loop = New(Config{
		NodeName: agenttest.TestNode, Source: in, Journal: cp, Trial: revisions, Installed: &state.InstalledModes{},
		HealthChecks: func(model.NodeSettings, resolve.HealthChecks) {},
		Flows:        noFlows{},
		Tune:         func(*v1alpha1.ConntrackOptions) error { return nil },
		Untune:       func() error { return nil },
		KubeProxy:    h.proxy,
		Report:       func(o report.Snapshot) { h.last = o },
		Log:          logr.Discard(), Clock: clk,
	})
	h.add(fake.Mode(v1alpha1.ModeNFTables, dataplane.NAT, h.kernel))
	return h
}

// add gives the loop a mode.
func (h *harness) add(m dataplane.Mode) {
	m.AutoRank = len(h.modes.list) + 1
	h.modes.list = append(h.modes.list, m)
}

// fromAPI makes the API's answer complete.
func (h *harness) fromAPI(specs ...*v1alpha1.ServiceRuleSliceSpec) {
	h.store.SetNode(testNodeRules(1))
	h.store.NodeSynced()
	h.store.ReplaceSlices(agenttest.Listed(specs...), true)
}

// wantKernel compares the kernel with what the slices mean, resolved from
// scratch.
func (h *harness) wantKernel(t *testing.T, specs ...*v1alpha1.ServiceRuleSliceSpec) {
	t.Helper()
	table := resolve.NewTable()
	node := testNodeRules(1)
	settings, err := resolve.Settings(node.Spec)
	if err != nil {
		t.Fatal(err)
	}
	table.SetNode(settings)
	for _, spec := range agenttest.Listed(specs...) {
		id := model.ServiceOf(spec)
		resolved, err := resolve.Service(resolve.Node{Name: agenttest.TestNode, Spec: node.Spec}, id, []*v1alpha1.ServiceRuleSliceSpec{spec})
		if err != nil {
			t.Fatal(err)
		}
		table.Set(id, resolved)
	}
	if diff := cmp.Diff(describe(table.Desired()), describe(h.kernel.Kernel())); diff != "" {
		t.Errorf("kernel differs:\n%s", diff)
	}
}

// describe makes a Desired comparable by go-cmp.
func describe(d model.Desired) map[string][]string {
	out := map[string][]string{}
	for key, f := range d.Frontends {
		for _, e := range f.Internal.Endpoints {
			out[key.String()] = append(out[key.String()], e.String())
		}
		out[key.String()] = append(out[key.String()], string(f.Internal.Verdict))
	}
	for _, a := range d.Node.NodePortAddresses {
		out["node ports"] = append(out["node ports"], a.String())
	}
	return out
}

func TestLoopWaitsForEverything(t *testing.T) {
	cases := map[string]struct {
		before func(in *source.Store)
		want   int // calls of Sync
	}{
		"nothing is known":          {func(*source.Store) {}, 0},
		"only the node is known":    {func(in *source.Store) { in.SetNode(testNodeRules(1)); in.NodeSynced() }, 0},
		"only the slices are known": {func(in *source.Store) { in.ReplaceSlices(agenttest.Listed(agenttest.Web("10.96.0.1")), true) }, 0},
		"slices came one by one, no list": {func(in *source.Store) {
			in.SetNode(testNodeRules(1))
			in.NodeSynced()
			in.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.1"), time.Time{})
		}, 0},
		"both are listed": {func(in *source.Store) {
			in.SetNode(testNodeRules(1))
			in.NodeSynced()
			in.ReplaceSlices(agenttest.Listed(), true)
		}, 1},
		"the checkpoint is enough":         {func(in *source.Store) { in.Restore(testNodeRules(1), agenttest.Listed(agenttest.Web("10.96.0.1"))) }, 1},
		"the node is listed and not there": {func(in *source.Store) { in.LoseNode(); in.NodeSynced(); in.ReplaceSlices(agenttest.Listed(), true) }, 0},
		"a checkpoint without its node now": {func(in *source.Store) {
			in.Restore(testNodeRules(1), agenttest.Listed())
			in.LoseNode()
			in.NodeSynced()
		}, 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			tc.before(h.store)
			h.step(t.Context())
			if got := h.kernel.Count(fake.Sync); got != tc.want {
				t.Errorf("Sync was called %d times, want %d", got, tc.want)
			}
		})
	}
}

func TestLoopFollowsChanges(t *testing.T) {
	h := newHarness(t)
	a, b := agenttest.Web("10.96.0.1", "10.244.1.2"), agenttest.Web("10.96.0.1", "10.244.1.3")
	other := agenttest.Web("10.96.0.2", "10.244.1.9")
	other.ServiceName = "other"
	h.fromAPI(a, other)
	h.step(t.Context())
	h.wantKernel(t, a, other)

	h.store.SetSlice(agenttest.WebName, b, time.Time{})
	h.step(t.Context())
	h.wantKernel(t, b, other)
	if h.kernel.Count(fake.Sync) != 1 || h.kernel.Count(fake.Apply) != 1 {
		t.Errorf("a change must be applied, not synced: %d Sync, %d Apply", h.kernel.Count(fake.Sync), h.kernel.Count(fake.Apply))
	}

	h.store.SetSlice(agenttest.WebName, nil, time.Time{})
	h.step(t.Context())
	h.wantKernel(t, other)

	// A repeated list and an event with our own status change nothing.
	calls := len(h.kernel.Calls())
	h.store.ReplaceSlices(agenttest.Listed(other), true)
	h.store.SetNode(testNodeRules(1))
	h.step(t.Context())
	if got := len(h.kernel.Calls()); got != calls {
		t.Errorf("no change made %d calls of the dataplane", got-calls)
	}
}

func TestLoopRetriesWithSync(t *testing.T) {
	h := newHarness(t)
	a, b := agenttest.Web("10.96.0.1", "10.244.1.2"), agenttest.Web("10.96.0.1", "10.244.1.3")
	h.fromAPI(a)
	h.step(t.Context())
	refused := errors.New("no buffer space available")
	h.kernel.Fail(fake.Apply, refused)
	h.store.SetSlice(agenttest.WebName, b, time.Time{})
	h.step(t.Context())
	if !errors.Is(h.last.Problem(report.KernelError), refused) || h.retry == 0 {
		t.Fatalf("got error %v and retry after %v, want %v and a retry", h.last.Problem(report.KernelError), h.retry, refused)
	}
	h.step(t.Context())
	h.wantKernel(t, b)
	if h.last.Problem(report.KernelError) != nil || h.retry != 0 || h.kernel.Count(fake.Sync) != 2 {
		t.Errorf("after the retry: error %v, retry %v, %d Sync", h.last.Problem(report.KernelError), h.retry, h.kernel.Count(fake.Sync))
	}
}

// TestLoopAnswersBalancers answers health checks of load balancers for endpoints when
// these are programmed, and for none that the kernel rejected.
func TestLoopAnswersBalancers(t *testing.T) {
	h := newHarness(t)
	var answers []resolve.HealthChecks
	h.answer = func(_ model.NodeSettings, c resolve.HealthChecks) { answers = append(answers, c) }
	checked := func(endpoints ...string) *v1alpha1.ServiceRuleSliceSpec {
		spec := agenttest.Web("10.96.0.1", endpoints...)
		spec.HealthCheckNodePort = 32100
		for i := range spec.Endpoints {
			spec.Endpoints[i].NodeName = agenttest.TestNode
		}
		return spec
	}
	h.fromAPI(checked("10.244.1.2"))
	h.step(t.Context())
	h.store.SetSlice(agenttest.WebName, checked("10.244.1.2", "10.244.1.3"), time.Time{})
	h.kernel.Fail(fake.Apply, errors.New("no buffer space available"))
	h.step(t.Context())
	if len(answers) != 1 {
		t.Fatalf("answers with what the kernel has refused: %v", answers)
	}
	h.step(t.Context())
	var got []int
	for _, c := range answers {
		for _, claims := range c {
			got = append(got, claims[0].LocalReady)
		}
	}
	if diff := cmp.Diff([]int{1, 2}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

// TestLoopReportsRefusedSlices edits a slice by hand and restores it: until then the kernel
// keeps what it has, and the node is degraded.
func TestLoopReportsRefusedSlices(t *testing.T) {
	h := newHarness(t)
	good, bad, better := agenttest.Web("10.96.0.1", "10.244.1.2"), agenttest.Web("10.96.0.1", "192.0.2.66"), agenttest.Web("10.96.0.1", "10.244.1.3")
	h.fromAPI(good)
	h.step(t.Context())
	sink := source.NewSliceSink(t.Context(), h.store, nil, func(string, error) {})
	edited := agenttest.Slice(bad)
	edited.ManagedFields[0].Manager = "kubectl-edit"
	if err := sink.Update(edited); err != nil {
		t.Fatal(err)
	}
	for range 2 { // as long as it lasts
		h.step(t.Context())
		if err := h.last.Problem(report.RefusedSlices); err == nil || !strings.Contains(err.Error(), agenttest.WebName+": kubectl-edit has written its spec") {
			t.Errorf("reported %v", err)
		}
		h.wantKernel(t, good)
	}
	if err := sink.Update(agenttest.Slice(better)); err != nil {
		t.Fatal(err)
	}
	h.step(t.Context())
	if err := h.last.Problem(report.RefusedSlices); err != nil {
		t.Errorf("still reported: %v", err)
	}
	h.wantKernel(t, better)
}

// TestLoopStopped interrupts a Sync by the end of the agent: that is not reported as
// rejected by the kernel.
func TestLoopStopped(t *testing.T) {
	h := newHarness(t)
	h.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	h.step(t.Context())
	ctx, stop := context.WithCancel(t.Context())
	stop()
	h.store.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.1", "10.244.1.3"), time.Time{})
	h.kernel.Fail(fake.Apply, context.Canceled)
	h.step(ctx)
	if h.last.Problem(report.KernelError) != nil {
		t.Errorf("reported %v", h.last.Problem(report.KernelError))
	}
}

func TestLoopKeepsRulesWithoutItsNodeRuleSet(t *testing.T) {
	h := newHarness(t)
	a, b := agenttest.Web("10.96.0.1", "10.244.1.2"), agenttest.Web("10.96.0.1", "10.244.1.3")
	h.fromAPI(a)
	h.step(t.Context())
	h.store.LoseNode()
	h.store.SetSlice(agenttest.WebName, b, time.Time{})
	h.step(t.Context())
	h.wantKernel(t, b)
	if !h.last.NodeGone {
		t.Error("the Snapshot must say that the NodeRuleSet is gone")
	}
}

func TestLoopRunsOnWithAModeItCannotRun(t *testing.T) {
	h := newHarness(t)
	a := agenttest.Web("10.96.0.1", "10.244.1.2")
	h.fromAPI(a)
	h.step(t.Context())
	ipvs := testNodeRules(2)
	ipvs.Spec.Mode = v1alpha1.ModeIPVS
	h.store.SetNode(ipvs)
	b := agenttest.Web("10.96.0.1", "10.244.1.3")
	h.store.SetSlice(agenttest.WebName, b, time.Time{})
	h.step(t.Context())
	h.wantKernel(t, b)
	if !errors.Is(h.last.Problem(report.ModeUnsupported), errUnsupported) || h.last.Mode() != v1alpha1.ModeNFTables {
		t.Errorf("got %v in mode %s, want it unsupported and nftables still active", h.last.Problem(report.ModeUnsupported), h.last.Mode())
	}
	fallback := testNodeRules(3)
	fallback.Spec.Mode, fallback.Spec.FallbackModes = v1alpha1.ModeIPVS, []v1alpha1.ProxyMode{v1alpha1.ModeNFTables}
	h.store.SetNode(fallback)
	h.step(t.Context())
	if h.last.Problem(report.ModeUnsupported) != nil {
		t.Errorf("a fallback mode is there: %v", h.last.Problem(report.ModeUnsupported))
	}
}

func TestLoopLeavesOutMalformedRules(t *testing.T) {
	h := newHarness(t)
	bad := agenttest.Web("10.96.0.1", "10.244.1.2", "127.0.0.1")
	h.fromAPI(bad)
	h.step(t.Context())
	h.wantKernelWithout(t)
	if h.last.Problem(report.SkippedRules) == nil {
		t.Errorf("malformed: %v", h.last.Problem(report.SkippedRules))
	}
	good := agenttest.Web("10.96.0.1", "10.244.1.2")
	h.store.SetSlice(agenttest.WebName, good, time.Time{})
	h.step(t.Context())
	if h.last.Problem(report.SkippedRules) != nil {
		t.Errorf("still malformed: %v", h.last.Problem(report.SkippedRules))
	}
}

// wantKernelWithout wants the loopback endpoint left out and the rest kept.
func (h *harness) wantKernelWithout(t *testing.T) {
	t.Helper()
	h.wantKernel(t, agenttest.Web("10.96.0.1", "10.244.1.2"))
}

// start runs the loop until the returned function is called, or the test ends.
func (h *harness) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); h.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// await waits until a condition holds.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not %s", what)
		}
	}
}

// TestLoopRepairs runs the loop and makes external changes in the kernel.
func TestLoopRepairs(t *testing.T) {
	h := newHarness(t)
	a := agenttest.Web("10.96.0.1", "10.244.1.2")
	h.fromAPI(a)
	outcomes := make(chan report.Snapshot, 100)
	h.Loop.report = func(o report.Snapshot) { outcomes <- o }
	stop := h.start(t)
	await(t, "watching", func() bool { return h.kernel.Watchers() == 1 && len(h.kernel.Kernel().Frontends) > 0 })
	for len(outcomes) > 0 {
		<-outcomes
	}
	h.kernel.Drift(func(kernel *model.Desired) { clear(kernel.Frontends) })
	var last report.Snapshot
	await(t, "repaired", func() bool {
		select {
		case last = <-outcomes:
		default:
		}
		return last.Repairs.Count == 1
	})
	h.wantKernel(t, a)
	status := report.StatusOf(last, nil, metav1.Now())
	if status.Repairs == nil || status.Repairs.Count != 1 {
		t.Errorf("the status has repairs %v, want 1", status.Repairs)
	}
	stop()
	if h.kernel.Watchers() != 0 {
		t.Error("still watching after the end")
	}
}
