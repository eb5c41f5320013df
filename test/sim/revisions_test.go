// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"
	"time"
)

// TestRevisions changes the policy more often than revisions are kept, also back, and lets the
// ProxyConfig disappear.
func TestRevisions(t *testing.T) {
	events := []event{{do: editPolicy, b: 1}, {do: calm}, {do: editPolicy, b: 2}, {do: calm}, {do: editPolicy, b: 1}, {do: editPolicy}, {do: calm},
		{do: dropPolicy}, {do: advance, d: time.Second}, {do: calm}, {do: editPolicy, b: 1}, {do: calm}}
	if r := runEvents(t, events); r.err != nil {
		t.Errorf("step %d: %v", r.steps, r.err)
	}
}
