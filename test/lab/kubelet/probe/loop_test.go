// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestCounter(t *testing.T) {
	const ok, bad = true, false
	cases := map[string]struct {
		counter     Counter
		results     []bool
		wantReached []bool
		wantOK      bool
	}{
		"one is enough":           {Counter{Success: 1, Failure: 1}, []bool{ok, bad}, []bool{true, true}, false},
		"failures in a row":       {Counter{Success: 1, Failure: 3, OK: true}, []bool{bad, bad, ok, bad, bad}, []bool{false, false, true, false, false}, true},
		"the third in a row":      {Counter{Success: 1, Failure: 3, OK: true}, []bool{bad, bad, bad}, []bool{false, false, true}, false},
		"successes in a row":      {Counter{Success: 2, Failure: 1}, []bool{ok, ok}, []bool{false, true}, true},
		"thresholds not set":      {Counter{}, []bool{ok}, []bool{true}, true},
		"confirmed again and on":  {Counter{Success: 1, Failure: 2}, []bool{bad, bad, bad}, []bool{false, true, true}, false},
		"a success starts it new": {Counter{Success: 2, Failure: 2, OK: true}, []bool{bad, ok, bad, bad}, []bool{false, false, false, true}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var reached []bool
			for _, result := range tc.results {
				reached = append(reached, tc.counter.Observe(result))
			}
			if diff := cmp.Diff(tc.wantReached, reached); diff != "" || tc.counter.OK != tc.wantOK {
				t.Errorf("ok %v, want %v; reached (-want +got):\n%s", tc.counter.OK, tc.wantOK, diff)
			}
		})
	}
}

// TestLoop runs in a bubble with a clock of its own.
func TestLoop(t *testing.T) {
	type event struct {
		At time.Duration
		OK bool
	}
	cases := map[string]struct {
		probe corev1.Probe
		eager bool
		// goodFrom and badFrom say when attempts begin to succeed and to fail again.
		goodFrom, badFrom time.Duration
		until             time.Duration
		want              []event
	}{
		"at once, then every period": {
			probe: corev1.Probe{PeriodSeconds: 10, FailureThreshold: 3}, until: 25 * time.Second, badFrom: time.Hour,
			want: []event{{0, true}, {10 * time.Second, true}, {20 * time.Second, true}},
		},
		"initial delay": {
			probe: corev1.Probe{InitialDelaySeconds: 5, PeriodSeconds: 10}, until: 6 * time.Second, badFrom: time.Hour,
			want: []event{{5 * time.Second, true}},
		},
		"fails by the threshold": {
			probe: corev1.Probe{PeriodSeconds: 1, FailureThreshold: 3}, badFrom: 2 * time.Second, until: 4500 * time.Millisecond,
			want: []event{{0, true}, {time.Second, true}, {4 * time.Second, false}},
		},
		"eager attempts find the start between periods": {
			probe: corev1.Probe{PeriodSeconds: 10, FailureThreshold: 1}, eager: true, goodFrom: 600 * time.Millisecond, badFrom: time.Hour, until: 9 * time.Second,
			want: []event{{700 * time.Millisecond, true}},
		},
		"eager failures count once a period": {
			probe: corev1.Probe{PeriodSeconds: 2, FailureThreshold: 2}, eager: true, goodFrom: time.Hour, badFrom: 2 * time.Hour, until: 3900 * time.Millisecond,
			want: []event{{3500 * time.Millisecond, false}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), tc.until)
				defer cancel()
				var got []event
				loop := Loop{
					Probe: &tc.probe, Eager: tc.eager,
					Try: func(context.Context) error {
						if at := time.Since(begin); at < tc.goodFrom || at >= tc.badFrom {
							return errors.New("not now")
						}
						return nil
					},
					Report: func(ok bool, _ error) { got = append(got, event{time.Since(begin), ok}) },
				}
				loop.Run(ctx)
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("reports (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAttemptHasTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loop := Loop{
			Probe: &corev1.Probe{TimeoutSeconds: 2},
			Try:   func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		}
		begin := time.Now()
		if err := loop.attempt(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 2*time.Second {
			t.Errorf("ended with %v after %s", err, time.Since(begin))
		}
	})
}
