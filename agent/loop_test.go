// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// harness is a loop over a pretended kernel, stepped by the test.
type harness struct {
	*loop
	kernel *fake.Dataplane
	last   outcome
}

func newHarness(t *testing.T) *harness {
	h := &harness{kernel: fake.New(v1alpha1.ModeNFTables)}
	planes := Dataplanes{v1alpha1.ModeNFTables: func() (dataplane.Dataplane, error) { return h.kernel, nil }}
	in := newInputs(time.Now)
	cp, err := openCheckpoint(t.TempDir(), in.snapshot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cp.close() })
	h.loop = newLoop(testNode, in, planes, cp, logr.Discard(), clock.RealClock{}, func(o outcome) { h.last = o })
	return h
}

// fromAPI makes the API's answer complete.
func (h *harness) fromAPI(specs ...*v1alpha1.ServiceRuleSliceSpec) {
	h.in.setNode(testNodeRules(1))
	h.in.nodeSynced()
	h.in.replaceSlices(listed(specs...), true)
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
	for name, spec := range listed(specs...) {
		id := serviceOf(name, spec)
		resolved, err := resolve.Service(resolve.Node{Name: testNode, Spec: node.Spec}, id, []*v1alpha1.ServiceRuleSliceSpec{spec})
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
		before func(in *inputs)
		want   int // calls of Sync
	}{
		"nothing is known":          {func(*inputs) {}, 0},
		"only the node is known":    {func(in *inputs) { in.setNode(testNodeRules(1)); in.nodeSynced() }, 0},
		"only the slices are known": {func(in *inputs) { in.replaceSlices(listed(web("10.96.0.1")), true) }, 0},
		"slices came one by one, no list": {func(in *inputs) {
			in.setNode(testNodeRules(1))
			in.nodeSynced()
			in.setSlice(webName, web("10.96.0.1"))
		}, 0},
		"both are listed":                   {func(in *inputs) { in.setNode(testNodeRules(1)); in.nodeSynced(); in.replaceSlices(listed(), true) }, 1},
		"the checkpoint is enough":          {func(in *inputs) { in.restore(testNodeRules(1), listed(web("10.96.0.1"))) }, 1},
		"the node is listed and not there":  {func(in *inputs) { in.loseNode(); in.nodeSynced(); in.replaceSlices(listed(), true) }, 0},
		"a checkpoint without its node now": {func(in *inputs) { in.restore(testNodeRules(1), listed()); in.loseNode(); in.nodeSynced() }, 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			tc.before(h.in)
			h.step(t.Context())
			if got := h.kernel.Count(fake.Sync); got != tc.want {
				t.Errorf("Sync was called %d times, want %d", got, tc.want)
			}
		})
	}
}

func TestLoopFollowsChanges(t *testing.T) {
	h := newHarness(t)
	a, b := web("10.96.0.1", "10.244.1.2"), web("10.96.0.1", "10.244.1.3")
	other := web("10.96.0.2", "10.244.1.9")
	other.ServiceName = "other"
	h.fromAPI(a, other)
	h.step(t.Context())
	h.wantKernel(t, a, other)

	h.in.setSlice(webName, b)
	h.step(t.Context())
	h.wantKernel(t, b, other)
	if h.kernel.Count(fake.Sync) != 1 || h.kernel.Count(fake.Apply) != 1 {
		t.Errorf("a change must be applied, not synced: %d Sync, %d Apply", h.kernel.Count(fake.Sync), h.kernel.Count(fake.Apply))
	}

	h.in.setSlice(webName, nil)
	h.step(t.Context())
	h.wantKernel(t, other)

	// A repeated list and an event with our own status change nothing.
	calls := len(h.kernel.Calls())
	h.in.replaceSlices(listed(other), true)
	h.in.setNode(testNodeRules(1))
	h.step(t.Context())
	if got := len(h.kernel.Calls()); got != calls {
		t.Errorf("no change made %d calls of the dataplane", got-calls)
	}
}

func TestLoopRetriesWithSync(t *testing.T) {
	h := newHarness(t)
	a, b := web("10.96.0.1", "10.244.1.2"), web("10.96.0.1", "10.244.1.3")
	h.fromAPI(a)
	h.step(t.Context())
	refused := errors.New("no buffer space available")
	h.kernel.Fail(fake.Apply, refused)
	h.in.setSlice(webName, b)
	h.step(t.Context())
	if !errors.Is(h.last.programming, refused) || h.retry == 0 {
		t.Fatalf("got error %v and retry after %v, want %v and a retry", h.last.programming, h.retry, refused)
	}
	h.step(t.Context())
	h.wantKernel(t, b)
	if h.last.programming != nil || h.retry != 0 || h.kernel.Count(fake.Sync) != 2 {
		t.Errorf("after the retry: error %v, retry %v, %d Sync", h.last.programming, h.retry, h.kernel.Count(fake.Sync))
	}
}

// TestLoopTellsBalancers tells load balancers of endpoints when these are
// programmed, and nothing that the kernel has refused.
func TestLoopTellsBalancers(t *testing.T) {
	h := newHarness(t)
	var told []resolve.HealthChecks
	h.answer = func(_ model.NodeSettings, c resolve.HealthChecks) { told = append(told, c) }
	checked := func(endpoints ...string) *v1alpha1.ServiceRuleSliceSpec {
		spec := web("10.96.0.1", endpoints...)
		spec.HealthCheckNodePort = 32100
		for i := range spec.Endpoints {
			spec.Endpoints[i].NodeName = testNode
		}
		return spec
	}
	h.fromAPI(checked("10.244.1.2"))
	h.step(t.Context())
	h.in.setSlice(webName, checked("10.244.1.2", "10.244.1.3"))
	h.kernel.Fail(fake.Apply, errors.New("no buffer space available"))
	h.step(t.Context())
	if len(told) != 1 {
		t.Fatalf("told what the kernel has refused: %v", told)
	}
	h.step(t.Context())
	var got []int
	for _, c := range told {
		for _, claims := range c {
			got = append(got, claims[0].LocalReady)
		}
	}
	if diff := cmp.Diff([]int{1, 2}, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestLoopStopped interrupts a programming by the end of the agent: that is
// nothing to tell as the kernel's refusal.
func TestLoopStopped(t *testing.T) {
	h := newHarness(t)
	h.fromAPI(web("10.96.0.1", "10.244.1.2"))
	h.step(t.Context())
	ctx, stop := context.WithCancel(t.Context())
	stop()
	h.in.setSlice(webName, web("10.96.0.1", "10.244.1.3"))
	h.kernel.Fail(fake.Apply, context.Canceled)
	h.step(ctx)
	if h.last.programming != nil {
		t.Errorf("reported %v", h.last.programming)
	}
}

func TestLoopKeepsRulesWithoutItsNodeRuleSet(t *testing.T) {
	h := newHarness(t)
	a, b := web("10.96.0.1", "10.244.1.2"), web("10.96.0.1", "10.244.1.3")
	h.fromAPI(a)
	h.step(t.Context())
	h.in.loseNode()
	h.in.setSlice(webName, b)
	h.step(t.Context())
	h.wantKernel(t, b)
	if !h.last.nodeGone {
		t.Error("the outcome must say that the NodeRuleSet is gone")
	}
}

func TestLoopRunsOnWithAModeItCannotRun(t *testing.T) {
	h := newHarness(t)
	a := web("10.96.0.1", "10.244.1.2")
	h.fromAPI(a)
	h.step(t.Context())
	ipvs := testNodeRules(2)
	ipvs.Spec.Mode = v1alpha1.ModeIPVS
	h.in.setNode(ipvs)
	b := web("10.96.0.1", "10.244.1.3")
	h.in.setSlice(webName, b)
	h.step(t.Context())
	h.wantKernel(t, b)
	if !errors.Is(h.last.unsupported, errUnsupported) || h.last.mode != v1alpha1.ModeNFTables {
		t.Errorf("got %v in mode %s, want it unsupported and nftables still in force", h.last.unsupported, h.last.mode)
	}
	fallback := testNodeRules(3)
	fallback.Spec.Mode, fallback.Spec.FallbackModes = v1alpha1.ModeIPVS, []v1alpha1.ProxyMode{v1alpha1.ModeNFTables}
	h.in.setNode(fallback)
	h.step(t.Context())
	if h.last.unsupported != nil {
		t.Errorf("a fallback mode is there: %v", h.last.unsupported)
	}
}

func TestLoopLeavesOutMalformedRules(t *testing.T) {
	h := newHarness(t)
	bad := web("10.96.0.1", "10.244.1.2", "127.0.0.1")
	h.fromAPI(bad)
	h.step(t.Context())
	h.wantKernelWithout(t)
	if len(h.last.malformed) != 1 {
		t.Errorf("malformed: %v", h.last.malformed)
	}
	good := web("10.96.0.1", "10.244.1.2")
	h.in.setSlice(webName, good)
	h.step(t.Context())
	if len(h.last.malformed) != 0 {
		t.Errorf("still malformed: %v", h.last.malformed)
	}
}

// wantKernelWithout wants the loopback endpoint left out and the rest kept.
func (h *harness) wantKernelWithout(t *testing.T) {
	t.Helper()
	h.wantKernel(t, web("10.96.0.1", "10.244.1.2"))
}

// start runs the loop until the returned function is called, or the test ends.
func (h *harness) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); h.run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not %s", what)
		}
	}
}

// TestLoopRepairs runs the loop and changes the kernel behind its back.
func TestLoopRepairs(t *testing.T) {
	h := newHarness(t)
	a := web("10.96.0.1", "10.244.1.2")
	h.fromAPI(a)
	outcomes := make(chan outcome, 100)
	h.loop.report = func(o outcome) { outcomes <- o }
	stop := h.start(t)
	await(t, "watching", func() bool { return h.kernel.Watchers() == 1 && len(h.kernel.Kernel().Frontends) > 0 })
	for len(outcomes) > 0 {
		<-outcomes
	}
	h.kernel.Drift(func(kernel *model.Desired) { clear(kernel.Frontends) })
	var last outcome
	await(t, "repaired", func() bool {
		select {
		case last = <-outcomes:
		default:
		}
		return last.repairs == 1
	})
	h.wantKernel(t, a)
	status := statusOf(last, nil, metav1.Now())
	if status.Repairs == nil || status.Repairs.Count != 1 {
		t.Errorf("the status tells of repairs %v, want 1", status.Repairs)
	}
	stop()
	if h.kernel.Watchers() != 0 {
		t.Error("still watching after the end")
	}
}

func TestInputsDigest(t *testing.T) {
	in := newInputs(time.Now)
	in.setNode(testNodeRules(1))
	in.nodeSynced()
	a, b := web("10.96.0.1", "10.244.1.2"), web("10.96.0.1", "10.244.1.3")
	in.replaceSlices(listed(a), true)
	in.setSlice(webName, b)
	in.setSlice(types.NamespacedName{Namespace: "x", Name: "gone"}, a)
	in.setSlice(types.NamespacedName{Namespace: "x", Name: "gone"}, nil)
	ch, ok := in.take()
	if !ok || model.XORDigest(b.Digest) != model.XORDigest(formatDigest(ch.digest)) {
		t.Errorf("digest %x, want %s", ch.digest, b.Digest)
	}
	if _, stored := ch.slices[types.NamespacedName{Namespace: "x", Name: "gone"}]; !stored {
		t.Error("a slice that came and went must be noted as deleted")
	}
}
