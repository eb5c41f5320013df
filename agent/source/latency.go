// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import "time"

// latency keeps when the changes began that slices show and the engine has not taken
// yet. What a complete list holds is not measured: it may have waited for this agent.
type latency struct {
	now     func() time.Time
	since   time.Time
	seen    map[string]time.Time
	waiting map[string]time.Time
}

func newLatency(now func() time.Time) *latency {
	t := &latency{now: now}
	t.reset()
	return t
}

// reset forgets everything, and everything that began before now.
func (t *latency) reset() {
	t.since = t.now()
	t.seen, t.waiting = map[string]time.Time{}, map[string]time.Time{}
}

// note notes when the change began that a slice shows. The same moment again says that
// the slice changed for another reason.
func (t *latency) note(slice string, began time.Time) {
	if began.After(t.since) && began.After(t.seen[slice]) {
		t.seen[slice], t.waiting[slice] = began, began
	}
}

// noteRemoval notes when the change began for which a slice goes.
func (t *latency) noteRemoval(slice string, began time.Time) {
	t.note(slice, began)
	delete(t.seen, slice)
}

func (t *latency) forget(slice string) {
	delete(t.seen, slice)
	delete(t.waiting, slice)
}

// take returns the moments of some slices, once.
func (t *latency) take(slices map[string]struct{}) []time.Time {
	var began []time.Time
	for slice, at := range t.waiting {
		if _, ok := slices[slice]; ok {
			began = append(began, at)
			delete(t.waiting, slice)
		}
	}
	return began
}
