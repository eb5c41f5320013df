// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/backoff"
)

const (
	// retryFirst is after which time a first failure is tried again. Each one after it
	// doubles the time.
	retryFirst = time.Second

	// slowPeriod is the longest time, and the one for what is not there: a module may be
	// installed, or a program.
	slowPeriod = 10 * time.Minute
)

// Retry says when to try again what has failed. The zero value is due.
type Retry struct {
	backoff backoff.Backoff
	due     time.Time
}

// Failed notes an error of something that was tried now, and starts the back-off anew if
// err is nil.
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

// Wait is after which time to try again; 0: it is due.
func (r *Retry) Wait(now time.Time) time.Duration { return max(0, r.due.Sub(now)) }
