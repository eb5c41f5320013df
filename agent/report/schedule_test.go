// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestNextWrite(t *testing.T) {
	now := time.Unix(1000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	cases := map[string]struct {
		state writeState
		want  time.Duration // from now; negative: overdue
		never bool
	}{
		"nothing to say": {writeState{last: ago(time.Hour)}, 0, true},
		"the first":      {writeState{change: newState, since: now}, 0, false},
		"another mode, though many were written": {
			writeState{change: newState, since: now, last: now, credit: now.Add(time.Hour)}, 0, false},
		"a condition": {
			writeState{change: newContents, since: now, last: ago(time.Second), credit: now.Add(conditionInterval)}, 0, false},
		"a condition after many": {
			writeState{change: newContents, since: now, last: now, credit: now.Add(conditionBurst * conditionInterval), jitter: 0.5},
			conditionInterval + conditionInterval/4, false},
		"counts": {
			writeState{change: newCounts, since: now, last: ago(10 * time.Second)}, 50 * time.Second, false},
		"counts after a quiet time": {
			writeState{change: newCounts, since: now, last: ago(time.Hour), jitter: 0.5}, countsJitter / 2, false},
		"after a failure": {
			writeState{change: newState, since: ago(time.Second), last: ago(time.Second), pause: 3 * time.Second}, 2 * time.Second, false},
		"an external change": {
			writeState{drifted: true, last: ago(time.Second)}, restoreAfter - time.Second, false},
		"an external change and counts": {
			writeState{drifted: true, change: newCounts, since: now, last: ago(time.Second)}, restoreAfter - time.Second, false},
		"an external change and a condition": {
			writeState{drifted: true, change: newContents, since: now, last: ago(time.Second)}, 0, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			at, due := nextWrite(tc.state)
			if due == tc.never || due && at.Sub(now) != tc.want {
				t.Errorf("due %v, %v from now; want %v from now", due, at.Sub(now), tc.want)
			}
		})
	}
}

// A condition that ends after many changes of mode or revision does not stay in the status for
// minutes: the controller takes the node for degraded as long.
func TestStatesDoNotDelayConditions(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, states := range []int{1, conditionBurst, 100} {
		s := writeState{}
		for range states {
			s.wrote(now, 0, 0)
		}
		s.change, s.since = newContents, now
		want := time.Duration(0)
		if states >= conditionBurst {
			want = conditionInterval
		}
		if at, due := nextWrite(s); !due || at.Sub(now) != want {
			t.Errorf("after %d changes of the state: due %v, %v from now; want %v", states, due, at.Sub(now), want)
		}
	}
}

// TestWritesAreBounded changes the report of a node four times a second, for ten minutes,
// and counts the writes. The last one has the final state.
func TestWritesAreBounded(t *testing.T) {
	flapping := func(kinds ...Kind) func(i int) Snapshot {
		return func(i int) Snapshot {
			if i%2 == 0 {
				return good()
			}
			return with(Problem{kinds[i/2%len(kinds)], errors.New("trouble")})
		}
	}
	limited := func(i int) Snapshot {
		s := good()
		s.Limitations = []dataplane.Limitation{{Reason: "Affinity", Message: "clamped", Count: i,
			Services: []model.ServiceID{{Namespace: "default", Name: fmt.Sprintf("web-%d", i)}}}}
		return s
	}
	const minutes = 10
	cases := map[string]struct {
		snapshot func(i int) Snapshot
		want     int // writes in all these minutes, at most
	}{
		"nothing":     {func(int) Snapshot { return good() }, 1},
		"Services":    {func(i int) Snapshot { s := good(); s.Programmed.Counts.Services = i; return s }, minutes + 1},
		"limitations": {limited, minutes + 1},
		"a condition": {flapping(JournalFailed), 6*minutes + conditionBurst},
		"conditions":  {flapping(KernelError, ConntrackFailed, JournalFailed), 6*minutes + conditionBurst},
		"an error with a number": {func(i int) Snapshot {
			return with(Problem{KernelError, fmt.Errorf("element %d is there", i)})
		}, 6*minutes + conditionBurst},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
			writes, last := 0, v1alpha1.NodeRuleSetStatus{}
			w := NewWriter(func(_ context.Context, _ types.UID, s v1alpha1.NodeRuleSetStatus) error {
				writes, last = writes+1, s
				return nil
			}, nil, logr.Discard(), clk)
			w.random = func() float64 { return 0.1 }
			const steps = minutes * 60 * 4
			for i := range steps {
				w.Set(tc.snapshot(i))
				w.step(t.Context())
				clk.Step(250 * time.Millisecond)
			}
			if writes > tc.want || writes == 0 {
				t.Errorf("%d writes in %d minutes, want at most %d", writes, minutes, tc.want)
			}
			clk.Step(2 * time.Minute)
			w.step(t.Context())
			if got := changeOf(&last, StatusOf(tc.snapshot(steps-1), last.Conditions, last.Conditions[0].LastTransitionTime)); got != unchanged {
				t.Errorf("what was written last differs from what is so: %d", got)
			}
		})
	}
}
