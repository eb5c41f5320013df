// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package check finds out whether Services answer the node through its own rules, while a
// revision of the policy is on trial.
package check

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/backoff"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const (
	// patience is how long a connection may take. A lost SYN is sent again after a second.
	patience = 2 * time.Second

	// The pauses between two attempts.
	retryMin = time.Second
	retryMax = 10 * time.Second
)

// Target is a check, and what it connects to.
type Target struct {
	v1alpha1.RolloutCheck

	// Addresses are those that must answer; Err is why there are none.
	Addresses []netip.AddrPort
	Err       error
}

// Dial opens a TCP connection from the node, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Checks connects to targets until each has answered. It has a goroutine while it does.
type Checks struct {
	dial  Dial
	wake  func() // called when Result changes
	clock clock.Clock

	targets []Target
	stop    func()

	mu      sync.Mutex
	results []result // of the targets
}

// result is what came of a target.
type result struct {
	passed   bool
	failures int
	err      error // of the last attempt
}

// New returns Checks without targets.
func New(dial Dial, wake func(), clk clock.Clock) *Checks {
	return &Checks{dial: dial, wake: wake, clock: clk, stop: func() {}}
}

// Run connects to these targets. If they are others than before, all begins anew.
func (c *Checks) Run(targets []Target) {
	if reflect.DeepEqual(targets, c.targets) {
		return
	}
	c.Stop()
	c.targets, c.results = targets, make([]result, len(targets))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range targets {
		running.Go(func() { c.try(ctx, i) })
	}
	c.stop = func() { cancel(); running.Wait() }
}

// Stop ends all connections, and forgets what came of them.
func (c *Checks) Stop() {
	c.stop()
	c.targets, c.results, c.stop = nil, nil, func() {}
}

// Result returns why not all targets have answered; nil: they have, or there are none. unfit says
// that one of them has failed more often than its failureLimit allows.
func (c *Checks) Result() (unfit bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, t := range c.targets {
		r := c.results[i]
		if r.passed {
			continue
		}
		over := t.FailureLimit != nil && r.failures > int(*t.FailureLimit)
		if err == nil || over && !unfit {
			unfit, err = unfit || over, t.failed(r.err)
		}
	}
	return unfit, err
}

// failed names the check in an error; nil: it has not ended yet.
func (t Target) failed(err error) error {
	if err == nil {
		return fmt.Errorf("check %s: Service %s, port %d has not answered yet", t.Name, t.Service, t.Port)
	}
	return fmt.Errorf("check %s: Service %s, port %d: %w", t.Name, t.Service, t.Port, err)
}

// try connects to a target until it has answered.
func (c *Checks) try(ctx context.Context, i int) {
	pause := backoff.Backoff{Min: retryMin, Max: retryMax}
	for ctx.Err() == nil {
		err := c.connect(ctx, c.targets[i])
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		r := &c.results[i]
		if r.passed, r.err = err == nil, err; err != nil {
			r.failures++
		}
		c.mu.Unlock()
		c.wake()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-c.clock.After(pause.Next()):
		}
	}
}

// connect opens a connection to each address of a target.
func (c *Checks) connect(ctx context.Context, t Target) error {
	if t.Err != nil {
		return t.Err
	}
	for _, a := range t.Addresses {
		ctx, cancel := context.WithTimeout(ctx, patience)
		conn, err := c.dial(ctx, "tcp", a.String())
		cancel()
		if err != nil {
			return err
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
	return nil
}
