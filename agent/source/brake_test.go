// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

func TestBrake(t *testing.T) {
	type step struct {
		after     time.Duration // the step before
		endpoints int
		allowed   bool
	}
	for name, steps := range map[string][]step{
		"first list":                       {{0, 0, true}},
		"small clusters are believed":      {{0, 99, true}, {0, 0, true}},
		"half remains":                     {{0, 300, true}, {0, 150, true}},
		"less than half remains":           {{0, 300, true}, {0, 149, false}},
		"the number grows":                 {{0, 300, true}, {0, 900, true}},
		"in small steps":                   {{0, 100, true}, {time.Second, 80, true}, {time.Second, 60, true}, {time.Second, 50, true}, {time.Second, 49, false}},
		"in slow steps":                    {{0, 200, true}, {time.Hour, 120, true}, {time.Hour, 61, true}, {time.Hour, 0, true}},
		"the window has not ended":         {{0, 200, true}, {time.Hour, 120, true}, {10*time.Second - 1, 99, false}},
		"the window has ended":             {{0, 200, true}, {time.Hour, 120, true}, {10 * time.Second, 99, true}, {0, 59, false}},
		"it grew in between":               {{0, 100, true}, {0, 400, true}, {time.Second, 199, false}, {0, 200, true}},
		"the highest counts, not the last": {{0, 400, true}, {time.Second, 250, true}, {time.Second, 300, true}, {time.Second, 199, false}},
	} {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakeClock(time.Now())
			b := newBrake(clk.Now)
			for i, s := range steps {
				clk.Step(s.after)
				if got := b.allows(s.endpoints); got != s.allowed {
					t.Errorf("step %d to %d endpoints: allowed %v, want %v", i, s.endpoints, got, s.allowed)
				}
				if s.allowed {
					b.note(s.endpoints)
				}
			}
			b.reset(100)
			if b.allows(49) || !b.allows(50) {
				t.Error("after a reset only its number counts")
			}
		})
	}
}
