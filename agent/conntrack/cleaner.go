// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conntrack keeps the kernel's connection tracking in step with the
// rules: it deletes the entries of flows that package flows calls stale. It works for
// every mode, in parallel to the programming of rules, which never waits for it.
package conntrack

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/rules/flows"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

const (
	// Back-off of a failed pass.
	retryMin = 100 * time.Millisecond
	retryMax = 30 * time.Second

	// A pass that deletes something may have to be repeated, see look; the regular
	// passes find what is left even then.
	repeatAfter = 50 * time.Millisecond
	maxRepeats  = 20

	// reportAfter is how many passes in a row fail before Failure reports it.
	reportAfter = 3

	// A pass is followed by a pause of that many times its processor time, at most
	// restMax: with a large table the clean-up must not use a core when endpoints change
	// all the time. How long the pass has waited for a processor does not count: on a
	// busy node the flows would be cleaned up later and later.
	restFactor = 9
	restMax    = 10 * time.Second
)

// The minimum time between two passes. The first pass after a quiet time is not
// delayed; the next one covers all changes until then, because the kernel walks its
// whole table each time: 9 ms of processor time for the 262,144 buckets of a large
// node, and 0.3 s with a million entries.
const (
	// The packets of a UDP client whose endpoint is gone are lost until its entry is
	// deleted. kube-proxy's minSyncPeriod is a second, too.
	udpInterval = time.Second

	// A client of TCP sends its SYN again after 1, 3, 7 and 15 s. An entry that is
	// deleted up to 5 s later costs it one or two of these, not the connection.
	tcpInterval = 5 * time.Second
)

// Cleaner deletes stale entries. It is level-triggered: it compares entries with
// the current frontends: after a change those that the change affects, and all of them
// after each full comparison with the kernel. That also finds the entry of a packet
// that was in flight while the rules changed and is tracked only after the pass.
type Cleaner struct {
	kernel  Kernel
	log     logr.Logger
	clock   clock.Clock
	used    func() time.Duration // processor time of the calling thread
	changed func()               // called when the result of Failure changes
	metrics Metrics
	wakeup  chan struct{}

	mu        sync.Mutex
	node      model.NodeSettings
	frontends map[model.FrontendKey]*model.Frontend // of the protocols below
	queues    map[model.Protocol]*queue
	failure   error

	// Only Run uses these: no pass starts before rested, and the last full pass found
	// so many entries.
	rested  time.Time
	entries map[kind]int
}

// New returns a Cleaner; changed is called when the result of Failure changes.
func New(kernel Kernel, m Metrics, log logr.Logger, clk clock.Clock, changed func()) *Cleaner {
	return &Cleaner{kernel: kernel, log: log, clock: clk, used: threadTime, changed: changed, metrics: m, wakeup: make(chan struct{}, 1),
		frontends: map[model.FrontendKey]*model.Frontend{}, entries: map[kind]int{},
		queues: map[model.Protocol]*queue{
			model.UDP: newQueue(model.UDP, udpInterval),
			model.TCP: newQueue(model.TCP, tcpInterval),
		}}
}

// Change takes a delta that is about to be programmed.
func (c *Cleaner) Change(d model.Delta) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.Node != nil {
		c.node = *d.Node
		for _, q := range c.queues {
			q.waiting.everything = true
		}
	}
	for _, change := range d.Frontends {
		q := c.queues[change.Key.Protocol]
		if q == nil {
			continue // no clean-up for this protocol
		}
		if change.New == nil {
			delete(c.frontends, change.Key)
		} else {
			c.frontends[change.Key] = change.New
		}
		if effect := flows.EffectOf(change); effect.Stale {
			q.waiting.frontends[change.Key] = q.waiting.frontends[change.Key] || effect.Older
		}
	}
}

// Programmed notes that all changes so far are in the kernel. everything: the whole
// kernel state was compared, not only the changes.
func (c *Cleaner) Programmed(everything bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range c.queues {
		q.waiting.everything = q.waiting.everything || everything
		if q.waiting.empty() {
			continue
		}
		q.due.add(q.waiting)
		q.waiting = newWork()
		select {
		case c.wakeup <- struct{}{}:
		default:
		}
	}
}

// Failure returns why the clean-up fails; nil: it works. A single failure is not
// reported, see reportAfter.
func (c *Cleaner) Failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// Run cleans up until ctx ends.
func (c *Cleaner) Run(ctx context.Context) {
	for ctx.Err() == nil {
		var next <-chan time.Time
		if wait, waiting := c.step(ctx); waiting {
			next = c.clock.After(wait)
		}
		select {
		case <-ctx.Done():
		case <-c.wakeup:
		case <-next:
		}
	}
}

// step makes one pass over what is due. It returns the time until the next one; false:
// none is due before the next change.
func (c *Cleaner) step(ctx context.Context) (wait time.Duration, waiting bool) {
	if q, at := c.next(); q != nil && !at.After(c.clock.Now()) {
		c.run(ctx, q)
	}
	q, at := c.next()
	if q == nil {
		return 0, false
	}
	return max(at.Sub(c.clock.Now()), 0), true
}

// next returns the queue of the next pass, and when it starts. nil: nothing is due.
func (c *Cleaner) next() (next *queue, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range c.queues {
		if !q.due.empty() && (next == nil || q.next.Before(next.next)) {
			next = q
		}
	}
	if next == nil {
		return nil, at
	}
	if at = next.next; at.Before(c.rested) {
		at = c.rested
	}
	return next, at
}

// run makes the pass of a queue and schedules the next one.
func (c *Cleaner) run(ctx context.Context, q *queue) {
	c.mu.Lock()
	w := q.take()
	c.mu.Unlock()

	start := c.clock.Now()
	again, used, err := c.timedLook(ctx, q.protocol, w)
	end := c.clock.Now()
	if ctx.Err() != nil {
		return
	}
	c.rested = end.Add(min(restFactor*used, restMax))

	c.mu.Lock()
	q.next = start.Add(q.interval)
	switch {
	case err != nil:
		q.due.add(w)
		q.failures++
		q.next = end.Add(q.backoff.Next())
	case !again.empty() && q.repeats < maxRepeats:
		q.due.add(again)
		q.failures, q.repeats = 0, q.repeats+1
		q.backoff.Reset()
		q.next = end.Add(repeatAfter)
	default:
		q.failures, q.repeats = 0, 0
		q.backoff.Reset()
	}
	c.mu.Unlock()
	if err == nil || q.failures >= reportAfter {
		c.report(q, err)
	}
}

// timedLook also returns the processor time of the pass, of which the kernel takes most.
func (c *Cleaner) timedLook(ctx context.Context, p model.Protocol, w work) (again work, used time.Duration, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := c.used()
	again, err = c.look(ctx, p, w)
	return again, c.used() - before, err
}

// threadTime returns the processor time of the calling thread; 0: unknown.
func threadTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// report keeps the first error of a persistent failure: later ones may only differ in
// the entry that they name.
func (c *Cleaner) report(q *queue, err error) {
	c.mu.Lock()
	if q.failure == nil || err == nil {
		q.failure = err
	}
	before := c.failure
	if c.failure = q.failure; c.failure == nil {
		for _, other := range c.queues {
			c.failure = first(c.failure, other.failure)
		}
	}
	now := c.failure
	c.mu.Unlock()
	switch {
	case (before == nil) == (now == nil):
		return
	case now != nil:
		c.log.Error(now, "Failed to clean up connection tracking, will retry")
	default:
		c.log.Info("Connection tracking is cleaned up again")
	}
	c.changed()
}
