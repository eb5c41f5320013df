// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// maxMeasured bounds the changes that wait to be measured while the kernel
// refuses to be programmed.
const maxMeasured = 10000

// triggers are the moments at which changes of endpoints began that the kernel
// does not show yet, by slice. What a complete list holds is not measured: nobody
// knows how long it has been waiting for this agent.
type latency struct {
	mu      sync.Mutex
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
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since = t.now()
	t.seen, t.waiting = map[types.NamespacedName]time.Time{}, map[types.NamespacedName]time.Time{}
}

// note notes when the change began that a slice shows, before the loop can take
// the slice. The same moment again says that the slice changed for another reason.
func (t *latency) note(slice types.NamespacedName, began time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if began.After(t.since) && began.After(t.seen[slice]) {
		t.seen[slice], t.waiting[slice] = began, began
	}
}

func (t *latency) forget(slice types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.seen, slice)
	delete(t.waiting, slice)
}

// Take adds to measured the moments that belong to changes which the loop has
// taken.
func (t *latency) Take(ch Changes, measured []time.Time) []time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		return measured
	}
	for slice := range ch.Slices {
		if began, ok := t.waiting[slice]; ok {
			delete(t.waiting, slice)
			if len(measured) < maxMeasured {
				measured = append(measured, began)
			}
		}
	}
	return measured
}
