// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package backoff says how long to wait before something is tried again that failed.
package backoff

import (
	"math"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Backoff is the pause after each of several failures in a row: Min after the first,
// twice as long after each further one, never more than Max.
type Backoff struct {
	Min, Max time.Duration

	// Jitter makes each pause longer by up to this part of it, so that many nodes do
	// not try at once.
	Jitter float64

	next wait.Backoff
}

// Next is how long to wait after a failure.
func (b *Backoff) Next() time.Duration {
	if b.next.Duration == 0 {
		b.next = wait.Backoff{Duration: b.Min, Factor: 2, Jitter: b.Jitter, Steps: math.MaxInt32, Cap: b.Max}
	}
	return min(b.next.Step(), b.Max)
}

// Reset notes a success.
func (b *Backoff) Reset() { b.next = wait.Backoff{} }
