// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"testing"
	"time"
)

func TestTriggersForget(t *testing.T) {
	now := time.Unix(1000, 0)
	tr := newLatency(func() time.Time { return now })
	a := "default.a-v4-0"
	tr.note(a, now.Add(time.Second))
	tr.forget(a)
	if got := tr.take(map[string]struct{}{a: {}}); got != nil || len(tr.seen) > 0 {
		t.Errorf("measured %v of a slice that is gone, kept %v", got, tr.seen)
	}
}
