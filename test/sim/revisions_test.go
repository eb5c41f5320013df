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

// TestRolloutWithoutAWayBack deletes the ProxyConfig, and with it its revisions, and creates another
// one: its rollout touches no node, until a person wants it at once.
func TestRolloutWithoutAWayBack(t *testing.T) {
	if r := runEvents(t, []event{{do: dropPolicy}, {do: advance, d: time.Second}, {do: editPolicy, b: 2}, {do: calm}}); r.err != nil {
		t.Errorf("step %d: %v", r.steps, r.err)
	}
}

// TestRevisionsOfAReplacedRollout checks that the revisions of a rollout that was undone, and then
// replaced by another one, do not stay.
func TestRevisionsOfAReplacedRollout(t *testing.T) {
	const moment = 2457 * time.Millisecond
	r := runEvents(t, []event{{do: editPolicy, b: 38}, {do: breakKernel, a: 282, b: 85, d: moment}, {do: editPolicy, b: 577}, {do: calm}})
	if r.err != nil {
		t.Errorf("step %d: %v", r.steps, r.err)
	}
}
