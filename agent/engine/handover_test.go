// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// twoModes is a loop that has also a mode whose connections end with it.
type twoModes struct {
	*harness
	other      *fake.Retiring
	generation int64
}

func newTwoModes(t *testing.T) *twoModes {
	m := &twoModes{harness: newHarness(t), other: &fake.Retiring{Dataplane: fake.New(v1alpha1.ModeIPVS)}, generation: 1}
	m.modes.dataplanes[v1alpha1.ModeIPVS] = func() (dataplane.Dataplane, error) { return m.other, nil }
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

	m.other.Fail(fake.Sync, errors.New("the kernel says no"))
	m.want(t, v1alpha1.ModeIPVS)
	m.wantKernel(t, a)
	if cleanups(m.kernel) > 0 {
		t.Fatal("the old rules went before the new ones were there")
	}
	m.step(t.Context())
	m.wantTraces(t, v1alpha1.ModeIPVS)
	if m.last.Mode != v1alpha1.ModeIPVS || cleanups(m.kernel) != 1 || len(m.kernel.Kernel().Frontends) > 0 || len(m.other.Kernel().Frontends) != 1 {
		t.Errorf("in mode %s, %d clean-ups, kernels %v and %v", m.last.Mode, cleanups(m.kernel), m.kernel.Kernel(), m.other.Kernel())
	}

	m.want(t, v1alpha1.ModeNFTables)
	m.wantTraces(t, v1alpha1.ModeIPVS, v1alpha1.ModeNFTables)
	m.wantKernel(t, a)
	if cleanups(m.other.Dataplane) > 0 || m.retry != retireInterval {
		t.Errorf("%d clean-ups while there are connections, next look after %v", cleanups(m.other.Dataplane), m.retry)
	}
	m.other.Idle = true
	m.step(t.Context())
	m.wantTraces(t, v1alpha1.ModeNFTables)
	if cleanups(m.other.Dataplane) != 1 || m.retry != 0 || m.last.Retiring != nil {
		t.Errorf("%d clean-ups without connections, next look after %v, error %v", cleanups(m.other.Dataplane), m.retry, m.last.Retiring)
	}
}

// A mode that comes back while its connections are not over adopts what is there.
func TestModeComesBack(t *testing.T) {
	m := newTwoModes(t)
	m.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	m.want(t, v1alpha1.ModeIPVS)
	m.want(t, v1alpha1.ModeNFTables)
	m.want(t, v1alpha1.ModeIPVS)
	m.wantTraces(t, v1alpha1.ModeIPVS)
	if cleanups(m.other.Dataplane) > 0 || cleanups(m.kernel) != 1 || len(m.retiring) > 0 {
		t.Errorf("%d and %d clean-ups, %d modes wait", cleanups(m.other.Dataplane), cleanups(m.kernel), len(m.retiring))
	}
}

// What an agent has begun to leave, the next one removes.
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
	m.other.Idle = true
	if m.installed, err = state.OpenInstalledModes(dir); err != nil {
		t.Fatal(err)
	}
	m.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	m.other.Fail(fake.Cleanup, errors.New("the kernel says no"))
	m.step(t.Context())
	if m.last.Retiring == nil || m.retry != retireInterval {
		t.Errorf("error %v, next try after %v", m.last.Retiring, m.retry)
	}
	m.step(t.Context())
	if m.last.Retiring != nil {
		t.Error(m.last.Retiring)
	}
	after, err := state.OpenInstalledModes(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]v1alpha1.ProxyMode{v1alpha1.ModeNFTables}, after.Others("")); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// A mode that meets only what others' rules leave does not wait for their connections,
// and is told before another one is programmed.
func TestModeThatYields(t *testing.T) {
	m := newTwoModes(t)
	yielded := 0
	last := &fake.Yielding{Dataplane: fake.New(v1alpha1.ModeUserspace)}
	last.Yielded = func() {
		yielded++
		if len(m.kernel.Kernel().Frontends) > 0 {
			t.Error("told after another mode was programmed")
		}
	}
	m.modes.dataplanes[v1alpha1.ModeUserspace] = func() (dataplane.Dataplane, error) { return last, nil }
	r := &recorder{failure: errors.New("no connection tracking here")}
	m.flows = r
	m.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	m.want(t, v1alpha1.ModeIPVS)
	m.want(t, v1alpha1.ModeUserspace)
	m.wantTraces(t, v1alpha1.ModeUserspace)
	if r.take(); m.last.Forgetting != nil {
		t.Errorf("connection tracking is not its affair: %v", m.last.Forgetting)
	}
	m.needSync = true
	m.step(t.Context())
	if calls := r.take(); calls != nil {
		t.Errorf("connection tracking is told: %v", calls)
	}
	if cleanups(m.other.Dataplane) != 1 || yielded != 0 {
		t.Errorf("%d clean-ups, told %d times", cleanups(m.other.Dataplane), yielded)
	}
	m.want(t, v1alpha1.ModeNFTables)
	if yielded != 1 {
		t.Errorf("told %d times", yielded)
	}
}

// Connections that the kernel translates get a moment when a mode takes over for which
// it would translate nothing. A mode that comes back meanwhile is left alone.
func TestModeThatLingers(t *testing.T) {
	for name, back := range map[string]bool{"its time is over": false, "it comes back": true} {
		t.Run(name, func(t *testing.T) {
			m := newTwoModes(t)
			clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
			m.clock = clk
			old := &fake.Tracking{Dataplane: fake.New(v1alpha1.ModeIPTables)}
			m.modes.dataplanes[v1alpha1.ModeIPTables] = func() (dataplane.Dataplane, error) { return old, nil }
			proxy := &fake.Yielding{Dataplane: fake.New(v1alpha1.ModeUserspace), Yielded: func() {
				if old.Tracked != 1 {
					t.Errorf("told when the kernel did not track connections: %d", old.Tracked)
				}
			}}
			m.modes.dataplanes[v1alpha1.ModeUserspace] = func() (dataplane.Dataplane, error) { return proxy, nil }
			m.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
			m.want(t, v1alpha1.ModeIPTables)
			m.want(t, v1alpha1.ModeUserspace)
			clk.Step(lingerTime - 1)
			m.step(t.Context())
			if old.Lingered != 1 || cleanups(old.Dataplane) != 0 || m.retry != retireInterval {
				t.Errorf("before its time is over: lingers %d times, %d clean-ups, next look after %v", old.Lingered, cleanups(old.Dataplane), m.retry)
			}
			if back {
				m.want(t, v1alpha1.ModeIPTables)
			}
			clk.Step(1)
			m.step(t.Context())
			want, wantCleanups := v1alpha1.ModeUserspace, 1
			if back {
				want, wantCleanups = v1alpha1.ModeIPTables, 0
			}
			m.wantTraces(t, want)
			if back != (old.Tracked == 1) {
				t.Errorf("it was asked to track connections %d times", old.Tracked)
			}
			if old.Lingered != 1 || cleanups(old.Dataplane) != wantCleanups || len(m.lingering) != 0 {
				t.Errorf("lingers %d times, %d clean-ups, want %d; %d modes linger", old.Lingered, cleanups(old.Dataplane), wantCleanups, len(m.lingering))
			}
		})
	}
}
