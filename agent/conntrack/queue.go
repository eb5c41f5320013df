// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"time"

	"github.com/fairlead-proxy/fairlead/agent/backoff"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// queue is the pending work of one protocol.
type queue struct {
	protocol model.Protocol
	interval time.Duration // the minimum between two passes
	waiting  work          // until it is programmed
	due      work
	next     time.Time // no pass starts before

	// Consecutive passes that failed, or that deleted flows older than their
	// frontend; the back-off of the next pass; the persistent failure.
	failures, repeats int
	backoff           backoff.Backoff
	failure           error
}

func newQueue(p model.Protocol, interval time.Duration) *queue {
	return &queue{protocol: p, interval: interval, waiting: newWork(), due: newWork(),
		backoff: backoff.Backoff{Min: retryMin, Max: retryMax}}
}

// take takes what is due.
func (q *queue) take() (w work) {
	w, q.due = q.due, newWork()
	return w
}

// work is what a pass has to check: frontends, each with whether flows may be older
// than the frontend.
type work struct {
	everything bool
	frontends  map[model.FrontendKey]bool
}

func newWork() work { return work{frontends: map[model.FrontendKey]bool{}} }

func (w *work) add(o work) {
	w.everything = w.everything || o.everything
	for key, older := range o.frontends {
		w.frontends[key] = w.frontends[key] || older
	}
}

func (w *work) empty() bool { return !w.everything && len(w.frontends) == 0 }
