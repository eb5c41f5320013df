// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package probe runs the probes of containers.
package probe

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Counter turns single results into a verdict: it changes after as many equal
// results in a row as the probe's thresholds say.
type Counter struct {
	// Success and Failure are the thresholds.
	Success, Failure int32
	// OK is the verdict so far.
	OK bool

	row  int32
	last bool
}

// Observe takes the next result and reports whether the verdict is confirmed or
// changed by it: the threshold of the result's kind is reached.
func (c *Counter) Observe(ok bool) (reached bool) {
	if ok != c.last || c.row == 0 {
		c.row, c.last = 0, ok
	}
	c.row++
	threshold := c.Failure
	if ok {
		threshold = c.Success
	}
	if c.row < max(threshold, 1) {
		return false
	}
	c.OK = ok
	return true
}

// eagerInterval is the first of the growing intervals at which a probe that has
// not succeeded yet is tried between its periods.
const eagerInterval = 100 * time.Millisecond

// Loop repeats one probe until ctx ends.
type Loop struct {
	Probe *corev1.Probe
	// Try makes one attempt; nil is success.
	Try func(ctx context.Context) error
	// Report is called whenever a threshold is reached, also when that confirms
	// the verdict; err is the last failure.
	Report func(ok bool, err error)
	// Eager tries again quickly, between the periods, until the first success. A
	// failure of these attempts does not count.
	Eager bool
	// OK is the verdict before the first result.
	OK bool
}

// Run probes until ctx ends. The first attempt comes right after the initial
// delay.
func (l *Loop) Run(ctx context.Context) {
	if !pause(ctx, seconds(l.Probe.InitialDelaySeconds)) {
		return
	}
	counter := Counter{Success: l.Probe.SuccessThreshold, Failure: l.Probe.FailureThreshold, OK: l.OK}
	period := seconds(max(l.Probe.PeriodSeconds, 1))
	eager := l.Eager
	for {
		next := time.Now().Add(period)
		err := l.attempt(ctx)
		for interval := eagerInterval; eager && err != nil && time.Now().Add(interval).Before(next); interval *= 2 {
			if !pause(ctx, interval) {
				return
			}
			err = l.attempt(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			eager = false
		}
		if counter.Observe(err == nil) {
			l.Report(counter.OK, err)
		}
		if !pause(ctx, time.Until(next)) {
			return
		}
	}
}

func (l *Loop) attempt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, seconds(max(l.Probe.TimeoutSeconds, 1)))
	defer cancel()
	return l.Try(ctx)
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// pause answers false when ctx ended before the time was over.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
