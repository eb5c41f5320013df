// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"sync"
	"time"
)

const (
	// delay is how long a change may take without faults, and heldDelay where the brake
	// on mass removal may hold it.
	delay     = 3 * time.Second
	heldDelay = 30 * time.Second
)

// health is which faults there are, and what does not hold.
type health struct {
	mu         sync.Mutex
	faultUntil time.Time // the last fault's end
	open       bool      // there are faults until the next calm
	big        bool      // there is or was a Service of bigService endpoints
	violation  error
}

// stale says whether a change at some time must have reached the kernels.
func (h *health) stale(change time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.open || now.Before(h.faultUntil) {
		return false
	}
	if change.Sub(h.faultUntil) > recovery {
		if h.big {
			return now.Sub(change) > heldDelay
		}
		return now.Sub(change) > delay
	}
	if change.Before(h.faultUntil) {
		change = h.faultUntil
	}
	return now.Sub(change) > recovery
}

// impair notes a fault that lasts for some time.
func (h *health) impair(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until := time.Now().Add(d); until.After(h.faultUntil) {
		h.faultUntil = until
	}
}

// impairUntilCalm notes a fault that lasts until the next calm.
func (h *health) impairUntilCalm() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = true
}

// fail notes what does not hold. Only the first counts.
func (h *health) fail(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.violation == nil {
		h.violation = fmt.Errorf(format, args...)
	}
}

func (h *health) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.violation
}

func (h *health) setBig() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.big = true
}

// heal notes that all faults end now.
func (h *health) heal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open, h.faultUntil = false, time.Now()
}
