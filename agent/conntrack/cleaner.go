// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conntrack keeps the kernel's connection tracking in step with the
// rules: it makes the kernel forget flows that package flows calls stale, and it
// applies the policy's parameters. It works for every mode, and beside the
// programming of rules, which never waits for it.
package conntrack

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/rules/flows"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

const (
	// Back-off of a failed look.
	retryMin = 100 * time.Millisecond
	retryMax = 30 * time.Second

	// A look that finds something may have to be repeated, see look; what is left
	// even then is found by the regular looks.
	repeatAfter = 50 * time.Millisecond
	maxRepeats  = 20

	// failuresToTell is how many looks in a row fail before Failure tells.
	failuresToTell = 3

	// A look is followed by a pause of that many times its duration: with a large
	// table the clean-up must not take a core when endpoints change all the time.
	restFactor = 9
	restMax    = 10 * time.Second
)

// Cleaner deletes stale entries. It is level-triggered: it compares entries with
// the frontends as they are, after a change those that it can concern, and all of
// them whenever everything was compared with the kernel. A packet that is under
// way while the rules change, and is tracked after the look, is found that way.
type Cleaner struct {
	kernel  Kernel
	log     logr.Logger
	clock   clock.Clock
	told    func() // Failure says something new
	metrics metrics
	wakeup  chan struct{}

	mu        sync.Mutex
	node      model.NodeSettings
	frontends map[model.FrontendKey]*model.Frontend // of UDP and TCP
	waiting   work                                  // until it is programmed
	due       work
	failure   error
}

// New returns a Cleaner; told is called when Failure says something new.
func New(kernel Kernel, log logr.Logger, clk clock.Clock, told func()) *Cleaner {
	return &Cleaner{kernel: kernel, log: log, clock: clk, told: told, metrics: newMetrics(), wakeup: make(chan struct{}, 1),
		frontends: map[model.FrontendKey]*model.Frontend{}, waiting: newWork(), due: newWork()}
}

// Change tells the cleaner of a delta that is going to be programmed.
func (c *Cleaner) Change(d model.Delta) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.Node != nil {
		c.node, c.waiting.everything = *d.Node, true
	}
	for _, change := range d.Frontends {
		if !flows.Tracked(change.Key.Protocol) {
			continue
		}
		if change.New == nil {
			delete(c.frontends, change.Key)
		} else {
			c.frontends[change.Key] = change.New
		}
		if effect := flows.EffectOf(change); effect.Stale {
			c.waiting.frontends[change.Key] = c.waiting.frontends[change.Key] || effect.Older
		}
	}
}

// Programmed says that all changes so far are in the kernel, and whether all of
// the kernel was compared, not only what has changed.
func (c *Cleaner) Programmed(everything bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting.everything = c.waiting.everything || everything
	if c.waiting.empty() {
		return
	}
	c.due.add(c.waiting)
	c.waiting = newWork()
	select {
	case c.wakeup <- struct{}{}:
	default:
	}
}

// Failure returns why the clean-up has failed for some time; nil: it has not.
func (c *Cleaner) Failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// Run cleans up until ctx ends.
func (c *Cleaner) Run(ctx context.Context) {
	failures, repeats, retry := 0, 0, time.Duration(0)
	for ctx.Err() == nil {
		w := c.take()
		if w.empty() {
			select {
			case <-ctx.Done():
			case <-c.wakeup:
			}
			continue
		}
		start := c.clock.Now()
		again, err := c.look(ctx, w)
		pause := min(restFactor*c.clock.Since(start), restMax)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil:
			c.putBack(w)
			failures, retry = failures+1, min(max(2*retry, retryMin), retryMax)
		case !again.empty() && repeats < maxRepeats:
			c.putBack(again)
			failures, repeats, retry = 0, repeats+1, repeatAfter
		default:
			failures, repeats, retry = 0, 0, 0
		}
		if failures == 0 || failures >= failuresToTell {
			c.tell(err)
		}
		select {
		case <-ctx.Done():
		case <-c.clock.After(max(pause, retry)):
		}
	}
}

func (c *Cleaner) take() work {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.due
	c.due = newWork()
	return w
}

func (c *Cleaner) putBack(w work) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due.add(w)
}

// tell keeps the first error of a failure that lasts: the next ones may differ
// in the entry that they name, and are no news.
func (c *Cleaner) tell(err error) {
	c.mu.Lock()
	same := (c.failure == nil) == (err == nil)
	if !same {
		c.failure = err
	}
	c.mu.Unlock()
	if same {
		return
	}
	if err != nil {
		c.log.Error(err, "Failed to clean up connection tracking, will retry")
	} else {
		c.log.Info("The clean-up of connection tracking works again")
	}
	c.told()
}
