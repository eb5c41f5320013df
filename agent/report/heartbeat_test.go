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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// TestHeartbeat runs in a bubble with a clock of its own.
func TestHeartbeat(t *testing.T) {
	never := time.Hour
	selected := good()
	selected.FromAPI = true
	stored, gone := selected, selected
	stored.FromAPI, gone.NodeGone = false, true
	cases := map[string]struct {
		snapshot Snapshot
		// The loop is stuck, and the apiserver fails, from that time on.
		stuck, fails time.Duration
		want         []time.Duration // seconds, of the first writes
		retries      int             // at least so many further ones
	}{
		"every 15 seconds, not at the start": {selected, never, never, []time.Duration{15, 30, 45, 60}, 0},
		"not while the loop is stuck":        {selected, 31 * time.Second, never, []time.Duration{15, 30}, 0},
		"not before the API has answered":    {stored, never, never, nil, 0},
		"not without a policy":               {gone, never, never, nil, 0},
		"soon again after a failure":         {selected, never, 45 * time.Second, []time.Duration{15, 30, 45}, 3},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var got []time.Duration
				h := NewHeartbeat(func(_ context.Context, owner types.UID, now time.Time) error {
					if owner != selected.Node.UID || !now.Equal(time.Now()) {
						t.Errorf("of %s at %s", owner, now)
					}
					got = append(got, time.Since(begin).Truncate(time.Second)/time.Second)
					if time.Since(begin) >= tc.fails {
						return errors.New("away")
					}
					return nil
				}, func() bool { return time.Since(begin) < tc.stuck }, logr.Discard(), clock.RealClock{})
				h.Set(tc.snapshot)
				ctx, cancel := context.WithTimeout(t.Context(), 63*time.Second)
				defer cancel()
				h.Run(ctx)
				first := got[:min(len(tc.want), len(got))]
				if diff := cmp.Diff(tc.want, first); diff != "" || len(got)-len(first) < tc.retries || tc.retries == 0 && len(got) > len(first) {
					t.Errorf("all: %v; the first ones (-want +got):\n%s", got, diff)
				}
			})
		})
	}
}

// TestHeartbeatRecovers checks that the pauses are those of a healthy apiserver again once it answers,
// and begin anew when it fails again.
func TestHeartbeatRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		fails := func(at time.Duration) bool {
			return at < time.Minute || at > 5*time.Minute && at < 5*time.Minute+heartbeatInterval
		}
		var last time.Duration
		var failures []time.Duration // pauses before and after, from the second time on
		beats := 0
		h := NewHeartbeat(func(context.Context, types.UID, time.Time) error {
			at := time.Since(begin)
			pause := at - last
			if fails(last) && last > 5*time.Minute {
				failures = append(failures, pause)
			}
			if last = at; fails(at) {
				return errors.New("away")
			}
			if beats++; beats > 1 && !fails(at-pause) && pause != heartbeatInterval {
				t.Errorf("beats after %v", pause)
			}
			return nil
		}, func() bool { return true }, logr.Discard(), clock.RealClock{})
		h.Set(good())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		h.Run(ctx)
		if beats < 30 {
			t.Errorf("%d beats", beats)
		}
		if limit := 2 * heartbeatRetryMin; len(failures) < 2 || failures[0] > limit {
			t.Errorf("pauses after the second failure: %v, want at most %v at first", failures, limit)
		}
	})
}
