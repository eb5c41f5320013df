// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/backoff"
)

const (
	// retryFirst is the time until the retry after a first failure. Each further failure
	// doubles it.
	retryFirst = time.Second

	// slowPeriod is the maximum time, and the time for missing support: a module or a
	// program may be installed.
	slowPeriod = 10 * time.Minute
)

// Retry says when to try again after a failure. The zero value is due.
type Retry struct {
	backoff backoff.Backoff
	due     time.Time
}

// Failed records the result of a try made now, and resets the back-off if err is nil.
func (r *Retry) Failed(now time.Time, err error) {
	pause := slowPeriod
	switch {
	case err == nil:
		*r = Retry{}
		return
	case !errors.Is(err, ErrUnsupported):
		if r.backoff.Min == 0 {
			r.backoff = backoff.Backoff{Min: retryFirst, Max: slowPeriod, Jitter: 0.1}
		}
		pause = r.backoff.Next()
	}
	r.due = now.Add(pause)
}

// Wait returns the time until the next try; 0: it is due.
func (r *Retry) Wait(now time.Time) time.Duration { return max(0, r.due.Sub(now)) }
