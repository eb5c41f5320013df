// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// twoModes is a loop that has also a mode whose connections end with it.
type twoModes struct {
	*harness
	other      *fake.Dataplane
	generation int64
}

func newTwoModes(t *testing.T) *twoModes {
	m := &twoModes{harness: newHarness(t), other: fake.New(), generation: 1}
	m.other.Wait = time.Second
	m.add(fake.Mode(v1alpha1.ModeIPVS, dataplane.LoadBalancer, m.other))
	return m
}

func (m *twoModes) want(t *testing.T, mode v1alpha1.ProxyMode) {
	t.Helper()
	m.generation++
	node := testNodeRules(m.generation)
	node.Spec.Mode = mode
	m.store.SetNode(node)
	m.step(t.Context())
}

func (m *twoModes) wantTraces(t *testing.T, want ...v1alpha1.ProxyMode) {
	t.Helper()
	if diff := cmp.Diff(want, m.installed.Others(""), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("modes that have left traces (-want +got):\n%s", diff)
	}
}

func cleanups(d *fake.Dataplane) int { return d.Count(fake.Cleanup) }

func TestModeChanges(t *testing.T) {
	m := newTwoModes(t)
	a := agenttest.Web("10.96.0.1", "10.244.1.2")
	m.fromAPI(a)
	m.step(t.Context())
	m.wantTraces(t, v1alpha1.ModeNFTables)

	m.other.Wait = 0
	m.other.Fail(fake.Sync, errors.New("the kernel says no"))
	m.want(t, v1alpha1.ModeIPVS)
	m.wantKernel(t, a)
	if cleanups(m.kernel) > 0 {
		t.Fatal("the old rules went before the new ones were there")
	}
	m.wantTraces(t, v1alpha1.ModeNFTables, v1alpha1.ModeIPVS)
	if cleanups(m.other) > 0 {
		t.Error("the new mode is cleaned up while it is tried")
	}
	m.other.Wait = time.Second
	m.candidate.due = time.Time{}
	m.step(t.Context())
	m.wantTraces(t, v1alpha1.ModeIPVS)
	if m.last.Mode() != v1alpha1.ModeIPVS || cleanups(m.kernel) != 1 || len(m.kernel.Kernel().Frontends) > 0 || len(m.other.Kernel().Frontends) != 1 {
		t.Errorf("in mode %s, %d clean-ups, kernels %v and %v", m.last.Mode(), cleanups(m.kernel), m.kernel.Kernel(), m.other.Kernel())
	}

	m.want(t, v1alpha1.ModeNFTables)
	m.wantTraces(t, v1alpha1.ModeNFTables, v1alpha1.ModeIPVS)
	m.wantKernel(t, a)
	if cleanups(m.other) > 0 || m.retry != time.Second {
		t.Errorf("%d clean-ups while there are connections, next look after %v", cleanups(m.other), m.retry)
	}
	m.other.Wait = 0
	m.step(t.Context())
	m.wantTraces(t, v1alpha1.ModeNFTables)
	if cleanups(m.other) != 1 || m.retry != 0 || m.last.Problem(report.PreviousModeCleanup) != nil {
		t.Errorf("%d clean-ups without connections, next look after %v, error %v", cleanups(m.other), m.retry, m.last.Problem(report.PreviousModeCleanup))
	}
}

// A mode that comes back while its connections are still open adopts its objects.
func TestModeComesBack(t *testing.T) {
	m := newTwoModes(t)
	m.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	m.want(t, v1alpha1.ModeIPVS)
	m.want(t, v1alpha1.ModeNFTables)
	m.want(t, v1alpha1.ModeIPVS)
	m.wantTraces(t, v1alpha1.ModeIPVS)
	if cleanups(m.other) > 0 || cleanups(m.kernel) != 1 || len(m.previous) > 0 {
		t.Errorf("%d and %d clean-ups, %d modes wait", cleanups(m.other), cleanups(m.kernel), len(m.previous))
	}
}

// A handover that one agent has begun is finished by the next one.
func TestTracesOfAnAgentBefore(t *testing.T) {
	dir := t.TempDir()
	before, err := state.OpenInstalledModes(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []v1alpha1.ProxyMode{v1alpha1.ModeIPVS, v1alpha1.ModeNFTables} {
		if err := before.Add(mode); err != nil {
			t.Fatal(err)
		}
	}
	m := newTwoModes(t)
	m.other.Wait = 0
	if m.installed, err = state.OpenInstalledModes(dir); err != nil {
		t.Fatal(err)
	}
	m.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	m.other.Fail(fake.Cleanup, errors.New("the kernel says no"))
	m.step(t.Context())
	if m.last.Problem(report.PreviousModeCleanup) == nil || m.retry != cleanupInterval {
		t.Errorf("error %v, next try after %v", m.last.Problem(report.PreviousModeCleanup), m.retry)
	}
	m.step(t.Context())
	if m.last.Problem(report.PreviousModeCleanup) != nil {
		t.Error(m.last.Problem(report.PreviousModeCleanup))
	}
	after, err := state.OpenInstalledModes(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]v1alpha1.ProxyMode{v1alpha1.ModeNFTables}, after.Others("")); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// A mode without kernel support was never programmed, or its objects went with the
// previous kernel: there is nothing to clean up, and no module to load again and again.
func TestTracesOfWhatIsNotThere(t *testing.T) {
	for name, open := range map[string]func(dataplane.Env) (dataplane.Dataplane, error){
		"no module":              func(dataplane.Env) (dataplane.Dataplane, error) { return nil, errNoModule },
		"not in this build, too": nil,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			if open != nil {
				h.add(dataplane.Mode{Name: ipvsMode, Kind: dataplane.LoadBalancer, Open: open})
			}
			if err := h.installed.Add(ipvsMode); err != nil {
				t.Fatal(err)
			}
			h.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
			h.step(t.Context())
			if left := h.installed.Others(nftablesMode); len(left) != 0 || h.retry != 0 || h.last.Problem(report.PreviousModeCleanup) != nil {
				t.Errorf("left %v, next try after %v, error %v", left, h.retry, h.last.Problem(report.PreviousModeCleanup))
			}
		})
	}
}

// Before a mode takes over, it prepares the kernel for its rules, and then the previous
// mode adds its connections to conntrack, which has none of a Proxy.
func TestHandover(t *testing.T) {
	m := newTwoModes(t)
	proxy := fake.New()
	m.add(fake.Mode(v1alpha1.ModeUserspace, dataplane.Proxy, proxy))
	r := &recorder{failure: errors.New("no connection tracking here")}
	m.flows = r
	m.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	m.other.Wait = 0
	m.want(t, v1alpha1.ModeIPVS)
	m.want(t, v1alpha1.ModeUserspace)
	m.wantTraces(t, v1alpha1.ModeUserspace)
	if r.take(); m.last.Problem(report.ConntrackFailed) != nil {
		t.Errorf("connection tracking does not concern it: %v", m.last.Problem(report.ConntrackFailed))
	}
	m.needSync = true
	m.step(t.Context())
	if calls := r.take(); calls != nil {
		t.Errorf("connection tracking is notified: %v", calls)
	}
	var order []string
	m.kernel.On = func(call fake.Method) { order = append(order, "new "+string(call)) }
	proxy.On = func(call fake.Method) { order = append(order, "old "+string(call)) }
	m.want(t, v1alpha1.ModeNFTables)
	want := []string{"new Probe", "new Incoming", "old Outgoing", "new Sync", "old Released", "old Cleanup", "old Close"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}
