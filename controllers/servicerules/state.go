// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// states holds the controller's state of each Service.
type states struct {
	mu        sync.Mutex
	byService map[types.NamespacedName]*state
}

// state is the state of a Service between calls of Reconcile. Only one call for a
// Service runs at a time, so it has no lock.
type state struct {
	// Writes are spaced: see wait.
	written   time.Time     // the last one
	window    time.Duration // after it
	windows   wait.Backoff  // the next ones, while changes are collected
	collected bool          // a change waits for the end of the window

	// handled is the time of the latest change of the Service or its EndpointSlices that the
	// slices contain, or that needed no write; zero: not known yet.
	handled time.Time

	// gone is when the controller first saw that the Service is gone.
	gone time.Time

	// problems and conflicts are those of the last call.
	problems  sets.Set[compile.Problem]
	conflicts sets.Set[conflict]
}

func newStates() *states { return &states{byService: map[types.NamespacedName]*state{}} }

// of returns the state of a Service.
func (s *states) of(service types.NamespacedName) *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.byService[service]
	if found == nil {
		found = &state{}
		s.byService[service] = found
	}
	return found
}

// forget drops the state of a deleted Service.
func (s *states) forget(service types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byService, service)
}

// windows are how long changes are collected after a write: 50 ms, and twice as
// long after each window that collected some, up to a second.
var windows = wait.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Steps: 10, Cap: time.Second}

// wait returns how long a change has to wait. An idle Service is written at once.
// Changes that come within the window after a write are collected until its end.
func (s *state) wait(now time.Time) time.Duration {
	left := s.window - now.Sub(s.written)
	if left <= 0 {
		return 0
	}
	s.collected = true
	return left
}

// wrote starts a new window: the first one if the last one has collected nothing.
func (s *state) wrote(now time.Time) {
	if !s.collected {
		s.windows = windows
	}
	s.written, s.window, s.collected = now, s.windows.Step(), false
}

// oldestChange is how old a change may be to be measured. A controller that has just started does not
// know which changes needed no write, and may write slices anew for another reason.
const oldestChange = 10 * time.Minute

// fresh returns newest if it has not been handled yet, else zero. The agents measure
// the programming latency from an annotation of the slices: a slice that is written for
// another reason, or late because a change had no effect before, must not look like a
// slow change. A controller that has just started gets the handled time from the slices.
func (s *state) fresh(newest time.Time, current []*v1alpha1.ServiceRuleSlice, now time.Time) time.Time {
	handled := s.handled
	if handled.IsZero() {
		handled = model.Newest(current, model.Trigger)
	}
	if newest.After(handled) && now.Sub(newest) < oldestChange {
		return newest
	}
	return time.Time{}
}

// handle records that the slices contain all changes up to newest.
func (s *state) handle(newest time.Time) {
	if newest.After(s.handled) {
		s.handled = newest
	}
}

// goneSince returns when the controller first saw that the Service is gone. It has no other time
// of a deletion.
func (s *state) goneSince(now time.Time) time.Time {
	if s.gone.IsZero() {
		s.gone = now
	}
	return s.gone
}
