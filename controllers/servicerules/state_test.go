// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
)

// TestPacer makes changes of one Service at given times, in milliseconds, and lists the
// time of each write.
func TestSpacing(t *testing.T) {
	every := func(interval, count int) []int {
		var out []int
		for i := range count {
			out = append(out, i*interval)
		}
		return out
	}
	cases := map[string]struct {
		changes, want []int
	}{
		"quiet":                {[]int{0, 5000, 10000}, []int{0, 5000, 10000}},
		"five a second":        {every(200, 5), []int{0, 200, 400, 600, 800}},
		"two at once":          {[]int{0, 1, 2, 3}, []int{0, 50}},
		"burst":                {every(10, 301), []int{0, 50, 150, 350, 750, 1550, 2550, 3550}},
		"calm after a burst":   {append(every(10, 41), 2000, 2060), []int{0, 50, 150, 350, 750, 2000, 2060}},
		"change at the window": {[]int{0, 50, 100}, []int{0, 50, 100}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			clock := testclock.NewFakePassiveClock(start)
			all := newStates()
			web, other := types.NamespacedName{Name: "web"}, types.NamespacedName{Name: "other"}
			var got []int
			due := -1 // when the queue calls again
			pending := false
			for now := 0; now <= 20000; now++ {
				clock.SetTime(start.Add(time.Duration(now) * time.Millisecond))
				for len(tc.changes) > 0 && tc.changes[0] == now {
					tc.changes, pending = tc.changes[1:], true
					due = now
				}
				if !pending || now < due {
					continue
				}
				if wait := all.of(web).wait(clock.Now()); wait > 0 {
					due = now + int(wait/time.Millisecond)
					continue
				}
				all.of(web).wrote(clock.Now())
				got, pending = append(got, now), false
				if all.of(other).wait(clock.Now()) != 0 {
					t.Error("another Service has to wait")
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			all.forget(web)
			all.forget(other)
			if len(all.byService) != 0 {
				t.Error("a Service that is gone is remembered")
			}
		})
	}
}
