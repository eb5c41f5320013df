// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package backoff

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBackoff(t *testing.T) {
	b := Backoff{Min: time.Second, Max: 5 * time.Second}
	next := func(n int) (got []time.Duration) {
		for range n {
			got = append(got, b.Next())
		}
		return got
	}
	want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second}
	if diff := cmp.Diff(want, next(5)); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
	b.Reset()
	if diff := cmp.Diff(want[:2], next(2)); diff != "" {
		t.Errorf("after a success (-want +got):\n%s", diff)
	}
	b = Backoff{Min: time.Second, Max: 5 * time.Second, Jitter: 0.5}
	for i, w := range want {
		if got := b.Next(); got < w || got > min(w*3/2, b.Max) {
			t.Errorf("pause %d with jitter: got %v, want %v or up to a half more", i, got, w)
		}
	}
}
