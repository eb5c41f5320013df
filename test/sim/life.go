// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// life is the life of one agent: when it is over, nothing of the process has an effect.
type life struct {
	node   *node
	old    bool // it does not know newer fields
	began  time.Time
	over   atomic.Bool
	cancel context.CancelFunc

	reached    atomic.Bool // the apiserver has listed something for it
	programmed atomic.Bool // it has begun to program
	failing    atomic.Bool // and has not succeeded since, or another program has changed the kernel

	mu   sync.Mutex
	now  content               // of the kernel
	held map[content]time.Time // until when the kernel had it
	// drifted is when another program has changed the kernel.
	drifted time.Time
}

func newLife(n *node, cancel context.CancelFunc) *life {
	return &life{node: n, old: n.old, began: time.Now(), cancel: cancel, held: map[content]time.Time{}}
}

func (l *life) begins() {
	l.programmed.Store(true)
	l.failing.Store(true)
}

// drifts notes that another program has changed the kernel.
func (l *life) drifts() {
	l.failing.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drifted = time.Now()
}

func (l *life) driftedSince(since time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.drifted.After(since)
}

func (l *life) succeeds() { l.failing.Store(false) }

// has returns what the kernel has.
func (l *life) has() content {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// gets notes what the kernel has now.
func (l *life) gets(c content) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now != "" {
		l.held[l.now] = time.Now()
	}
	l.now = c
}

// hadSince says whether the kernel had something at some time since, as far as the agent has
// programmed it.
func (l *life) hadSince(c content, since time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	until, had := l.held[c]
	return c == l.now || had && !until.Before(since)
}

// lives are the agents by the names of their clients.
type lives struct {
	mu     sync.Mutex
	byName map[string]*life
}

func (l *lives) add(client string, one *life) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byName[client] = one
}

// of returns the agent of a client; nil: it is another process.
func (l *lives) of(client string) *life {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byName[client]
}
