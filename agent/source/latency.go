// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// latency keeps when the changes began that slices show and the engine has not taken
// yet. What a complete list holds is not measured: it may have waited for this agent.
type latency struct {
	now     func() time.Time
	since   time.Time
	seen    map[types.NamespacedName]time.Time
	waiting map[types.NamespacedName]time.Time
}

func newLatency(now func() time.Time) *latency {
	t := &latency{now: now}
	t.reset()
	return t
}

// reset forgets everything, and everything that began before now.
func (t *latency) reset() {
	t.since = t.now()
	t.seen, t.waiting = map[types.NamespacedName]time.Time{}, map[types.NamespacedName]time.Time{}
}

// note notes when the change began that a slice shows. The same moment again says that
// the slice changed for another reason.
func (t *latency) note(slice types.NamespacedName, began time.Time) {
	if began.After(t.since) && began.After(t.seen[slice]) {
		t.seen[slice], t.waiting[slice] = began, began
	}
}

func (t *latency) forget(slice types.NamespacedName) {
	delete(t.seen, slice)
	delete(t.waiting, slice)
}

// take returns the moments of some slices, once.
func (t *latency) take(slices map[types.NamespacedName]struct{}) []time.Time {
	var began []time.Time
	for slice, at := range t.waiting {
		if _, ok := slices[slice]; ok {
			began = append(began, at)
			delete(t.waiting, slice)
		}
	}
	return began
}
