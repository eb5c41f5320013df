// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"time"

	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/source"
)

const (
	// readBackInterval is how often the kernel is read back and compared although
	// there was no notification of a change, unless the agent would spend more than one
	// part in readBackShare of its time with it.
	readBackInterval = time.Minute
	readBackShare    = 50

	// notifiedPause is the least time from a look at the kernel to one because of a
	// notification. Against a process that fights for the rules, the agent takes one part
	// in notifiedShare of its time.
	notifiedPause = 200 * time.Millisecond
	notifiedShare = 5

	// maxInterrupted is how many looks in a row changes may interrupt: then they wait for
	// one, so that external changes do not stay for ever where there are always changes.
	// The next look follows interruptedPause after an interruption.
	maxInterrupted   = 3
	interruptedPause = 200 * time.Millisecond
)

// resync is how often the kernel may be read back, whatever the mode. To read much takes
// long: nftables dumps a large map in a time that grows with the square of its size, 13 s
// at 500,000 endpoints, and iptables-nft-save prints the rules of 10,000 Services in 3 s.
type resync struct {
	clock   clock.PassiveClock
	longest time.Duration // that it took, the last times
	ended   time.Time     // the last time

	interrupted int           // looks since the last one that was not
	wasted      time.Duration // that they took
}

// look returns the context of a look at the kernel, which a change in the store
// interrupts, and a function to call after the look.
func (p *resync) look(ctx context.Context, store *source.Store) (look context.Context, end func()) {
	if p.interrupted >= maxInterrupted {
		return ctx, func() {}
	}
	reading, cancel := context.WithCancel(ctx)
	source.OnChange(store, cancel)
	return dataplane.WithReading(ctx, reading), func() { source.OnChange(store, nil); cancel() }
}

// looked notes that the kernel was looked at, and how long it was read.
func (p *resync) looked(result dataplane.Result) {
	p.ended = p.clock.Now()
	if result.Interrupted {
		p.interrupted, p.wasted = p.interrupted+1, p.wasted+result.Reading
		return
	}
	// A look that finds no external change reads nothing: forget slowly.
	p.longest = max(p.wasted+result.Reading, p.longest/2)
	p.interrupted, p.wasted = 0, 0
}

// regular is after which time to look again.
func (p *resync) regular() time.Duration { return max(readBackInterval, readBackShare*p.longest) }

// afterNotification is how long to wait with a look because of a notification that has
// come now.
func (p *resync) afterNotification() time.Duration {
	return max(notifiedPause, (notifiedShare-1)*p.longest) - p.clock.Since(p.ended)
}
