// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// readShare limits the time that reading back takes when others change our rules all
// the time: to one part in so many. To read the rules of 10,000 Services takes
// iptables-nft-save three seconds of a processor.
const readShare = 5

// pace holds news back that come too soon after the last read.
type pace struct {
	clock clock.WithDelayedExecution

	mu      sync.Mutex
	ready   time.Time   // when the next read is not too soon
	waiting clock.Timer // for that, with news
}

// read notes that the rules were read since a moment.
func (p *pace) read(since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	p.ready = now.Add((readShare - 1) * now.Sub(since))
}

// tell calls changed, now or when the next read is not too soon.
func (p *pace) tell(changed func()) {
	p.mu.Lock()
	wait := p.ready.Sub(p.clock.Now())
	if wait > 0 && p.waiting == nil {
		p.waiting = p.clock.AfterFunc(wait, func() {
			p.mu.Lock()
			p.waiting = nil
			p.mu.Unlock()
			changed()
		})
	}
	p.mu.Unlock()
	if wait <= 0 {
		changed()
	}
}

// forget ends the waiting.
func (p *pace) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting != nil {
		p.waiting.Stop()
		p.waiting = nil
	}
}
