// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestWritesToAnotherObject creates the NodeRuleSet again: it gets its status at once, though nothing
// else has changed, and once.
func TestWritesToAnotherObject(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	var got []types.UID
	r := NewWriter(func(_ context.Context, uid types.UID, _ v1alpha1.NodeRuleSetStatus) error {
		got = append(got, uid)
		return nil
	}, nil, logr.Discard(), clk)
	again := good()
	node := *again.Node
	node.UID = "another"
	programmed := *again.Programmed
	programmed.Node = &node
	again.Node, again.Programmed = &node, &programmed
	for _, s := range []Snapshot{good(), good(), again, again} {
		clk.Step(time.Hour)
		r.Set(s)
		r.step(t.Context())
	}
	if diff := cmp.Diff([]types.UID{good().Node.UID, "another"}, got); diff != "" {
		t.Errorf("objects that were written (-want +got):\n%s", diff)
	}
}

// TestReporterRestoresOnce shows the reporter an edit, and nothing after it has written: that the API
// has not shown its write is no reason for another.
func TestReporterRestoresOnce(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	writes := 0
	r := NewWriter(func(context.Context, types.UID, v1alpha1.NodeRuleSetStatus) error { writes++; return nil }, nil, logr.Discard(), clk)
	r.Set(good())
	r.step(t.Context())
	edited := []metav1.Condition{{Type: "Edited"}}
	r.ShowStatus(good().Node.UID, v1alpha1.NodeRuleSetStatus{Conditions: edited})
	if diff := cmp.Diff(edited, r.Conditions()); diff != "" {
		t.Errorf("conditions that the API shows (-want +got):\n%s", diff)
	}
	for range 3 {
		clk.Step(time.Hour)
		r.step(t.Context())
	}
	if writes != 2 {
		t.Errorf("%d writes, want 2", writes)
	}
}

// TestWriterRuns runs a writer in a bubble: it writes at once what must be, and later what may wait,
// though nothing more happens.
func TestWriterRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var got []time.Duration
		r := NewWriter(func(context.Context, types.UID, v1alpha1.NodeRuleSetStatus) error {
			got = append(got, time.Since(begin))
			return nil
		}, nil, logr.Discard(), clock.RealClock{})
		ctx, cancel := context.WithCancel(t.Context())
		go r.Run(ctx)
		step := func(what string, first, last time.Duration, do func()) {
			t.Helper()
			before := len(got)
			synctest.Wait()
			do()
			time.Sleep(time.Hour)
			synctest.Wait()
			if len(got) != before+1 || got[before] < first || got[before] > last {
				t.Errorf("%s: written at %v, want one at %v to %v", what, got[before:], first, last)
			}
		}
		step("the first", 0, 0, func() { r.Set(good()) })
		counted := good()
		counted.Programmed.Counts.Services = 1
		step("counts", time.Hour, time.Hour+countsJitter, func() { r.Set(counted) })
		step("an external edit", 2*time.Hour, 2*time.Hour, func() { r.ShowStatus(good().Node.UID, v1alpha1.NodeRuleSetStatus{}) })
		cancel()
		synctest.Wait()
		r.Set(with(Problem{KernelError, errors.New("trouble")}))
		synctest.Wait()
		if len(got) != 3 {
			t.Errorf("written after its end: %v", got[3:])
		}
	})
}

// TestRepairEvents counts events of repairs, at most one per minute.
func TestRepairEvents(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	events := 0
	r := NewWriter(
		func(context.Context, types.UID, v1alpha1.NodeRuleSetStatus) error { return nil },
		func(_ context.Context, _ types.UID, reason, note string) error {
			events++
			if reason != v1alpha1.EventRulesRepaired || note == "" {
				t.Errorf("event %s: %q", reason, note)
			}
			return nil
		}, logr.Discard(), clk)
	for i, s := range []struct {
		after   time.Duration
		repairs int64
		want    int
	}{{0, 0, 0}, {time.Second, 1, 1}, {time.Second, 1, 1}, {time.Second, 5, 1}, {time.Minute, 5, 2}, {time.Hour, 5, 2}, {time.Second, 6, 3}} {
		clk.Step(s.after)
		o := good()
		o.Repairs.Count = s.repairs
		r.Set(o)
		r.step(t.Context())
		if events != s.want {
			t.Errorf("step %d: %d events, want %d", i, events, s.want)
		}
	}
}
