// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// interruptions is a loop whose Service changes while the kernel is read.
type interruptions struct {
	*harness
	clk     *clocktesting.FakeClock
	changes bool
	web     *v1alpha1.ServiceRuleSliceSpec // in its last version
	version int
}

func newInterruptions(t *testing.T) *interruptions {
	clk := clocktesting.NewFakeClock(time.Unix(1_800_000_000, 0))
	i := &interruptions{harness: newHarnessAt(t, clk), clk: clk, web: agenttest.Web("10.96.0.1", "10.244.1.2")}
	i.resync.clock = clk
	i.fromAPI(i.web)
	i.kernel.On = func(call fake.Method) {
		if call == fake.Sync && i.changes {
			i.version++
			i.web = agenttest.Web("10.96.0.1", fmt.Sprintf("10.244.2.%d", i.version))
			i.store.SetSlice(agenttest.WebName, i.web, time.Time{})
		}
	}
	return i
}

// untilLook lets the loop wait, and program changes, until it is to look at the kernel.
func (i *interruptions) untilLook(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	regular := i.clk.NewTimer(time.Hour)
	defer regular.Stop()
	for range 3 { // changes, and what is due
		if i.wait(ctx, nil, regular); i.needSync {
			return
		}
		i.step(t.Context())
		i.clk.Step(interruptedPause)
	}
	t.Fatal("no look is due")
}

// interrupted returns the results of all Syncs.
func (i *interruptions) interrupted() (all []bool) {
	for _, c := range i.kernel.Calls() {
		if c.Method == fake.Sync {
			all = append(all, c.Result.Interrupted)
		}
	}
	return all
}

// TestChangeInterruptsLook checks that a change that comes while the kernel is read does
// not wait for the end, that the look follows soon, and that one that was interrupted does
// not count as a comparison of everything.
func TestChangeInterruptsLook(t *testing.T) {
	i := newInterruptions(t)
	i.changes = true // during the first Sync, which has to be complete
	i.step(t.Context())
	i.changes = false
	i.step(t.Context())
	i.kernel.Drift(func(kernel *model.Desired) { kernel.Node.NodePortAddresses = nil })
	i.needSync, i.changes = true, true
	i.step(t.Context())
	if i.last.Step.Synced || i.last.Step.Repaired != 0 || i.needSync {
		t.Errorf("after the interruption: %+v, needSync %v", i.last.Step, i.needSync)
	}
	i.changes = false
	i.untilLook(t)
	if calls := i.kernel.Calls(); calls[len(calls)-1].Method != fake.Apply {
		t.Errorf("after the interruption there is no Apply, but %+v", calls[len(calls)-1])
	}
	i.step(t.Context())
	if !i.last.Step.Synced || i.last.Step.Repaired == 0 {
		t.Errorf("the next look: %+v", i.last.Step)
	}
	if diff := cmp.Diff([]bool{false, true, false}, i.interrupted()); diff != "" {
		t.Errorf("Syncs that were interrupted (-want +got):\n%s", diff)
	}
	i.wantKernel(t, i.web)
}

// TestLooksInSpiteOfChanges checks that an external change is found although a change of
// the API comes during each look.
func TestLooksInSpiteOfChanges(t *testing.T) {
	i := newInterruptions(t)
	i.step(t.Context())
	i.changes = true
	i.needSync = true // as the regular look
	for range 2 {
		i.kernel.Drift(func(kernel *model.Desired) { kernel.Node.NodePortAddresses = nil })
		for range maxInterrupted {
			i.step(t.Context())
			i.untilLook(t)
		}
		i.step(t.Context())
		if i.last.Step.Repaired == 0 {
			t.Fatalf("after %d looks that were interrupted: %+v", maxInterrupted, i.last.Step)
		}
		i.needSync = true
	}
	want := []bool{false}
	for range 2 {
		for range maxInterrupted {
			want = append(want, true)
		}
		want = append(want, false)
	}
	if diff := cmp.Diff(want, i.interrupted()); diff != "" {
		t.Errorf("Syncs that were interrupted (-want +got):\n%s", diff)
	}
}

// TestSyncAfterErrorIsComplete checks that what a failed Sync has left unknown is read.
func TestSyncAfterErrorIsComplete(t *testing.T) {
	i := newInterruptions(t)
	i.step(t.Context())
	i.kernel.Drift(func(kernel *model.Desired) { clear(kernel.Frontends) })
	i.kernel.Fail(fake.Sync, errors.New("no buffer space available"))
	i.needSync, i.changes = true, true
	i.step(t.Context())
	i.step(t.Context())
	if !i.last.Step.Synced || i.last.Step.Repaired == 0 {
		t.Errorf("after an error: %+v", i.last.Step)
	}
	i.changes = false
	i.step(t.Context())
	i.wantKernel(t, i.web)
}
