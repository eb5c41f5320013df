// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestTriggersForget(t *testing.T) {
	now := time.Unix(1000, 0)
	tr := newLatency(func() time.Time { return now })
	a := types.NamespacedName{Name: "a"}
	tr.note(a, now.Add(time.Second))
	tr.forget(a)
	if got := tr.take(map[types.NamespacedName]struct{}{a: {}}); got != nil || len(tr.seen) > 0 {
		t.Errorf("measured %v of a slice that is gone, kept %v", got, tr.seen)
	}
}
