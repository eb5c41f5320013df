// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// The window after a write in which further changes of a Service are collected.
const (
	minWindow = 50 * time.Millisecond
	maxWindow = time.Second
)

// pacer spaces the writes of each Service. A quiet Service is written at once.
// Changes that come within the window after a write are collected until its
// end; each time that happens the next window is twice as long, up to
// maxWindow, and as soon as a change comes after the window it is minWindow again.
type pacer struct {
	clock clock.PassiveClock

	mu    sync.Mutex
	paces map[types.NamespacedName]*pace
}

type pace struct {
	written   time.Time
	window    time.Duration
	collected bool
}

func newPacer(c clock.PassiveClock) *pacer {
	return &pacer{clock: c, paces: map[types.NamespacedName]*pace{}}
}

// wait returns how long a change has to wait now.
func (p *pacer) wait(service types.NamespacedName) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.paces[service]
	if !ok {
		return 0
	}
	left := s.window - p.clock.Since(s.written)
	if left <= 0 {
		return 0
	}
	s.collected = true
	return left
}

// wrote starts a new window.
func (p *pacer) wrote(service types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.paces[service]
	if !ok {
		s = &pace{}
		p.paces[service] = s
	}
	if s.collected {
		s.window = min(2*s.window, maxWindow)
	} else {
		s.window = minWindow
	}
	s.collected = false
	s.written = p.clock.Now()
}

// forget drops what is known about a Service that is gone.
func (p *pacer) forget(service types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.paces, service)
}
