// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// triggers remembers until when the changes of each Service's endpoints have been
// handled. The agents measure how long a change takes to reach the kernel, by an
// annotation of the slices: one that is written for another reason, or late
// because a change had no effect before, must not look like a slow answer.
type triggers struct {
	mu    sync.Mutex
	until map[types.NamespacedName]time.Time
}

func newTriggers() *triggers { return &triggers{until: map[types.NamespacedName]time.Time{}} }

// fresh returns newest if it has not been handled yet, else zero. A controller
// that has just started knows from the slices what others have handled.
func (t *triggers) fresh(service types.NamespacedName, newest time.Time, current []*v1alpha1.ServiceRuleSlice) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	until, ok := t.until[service]
	if !ok {
		until = model.NewestTrigger(current)
	}
	if newest.After(until) {
		return newest
	}
	return time.Time{}
}

// handled notes that the slices of a Service show all changes up to newest.
func (t *triggers) handled(service types.NamespacedName, newest time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if newest.After(t.until[service]) {
		t.until[service] = newest
	}
}

// forget drops what is known about a Service that is gone.
func (t *triggers) forget(service types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.until, service)
}

// annotate notes in a plan when the change began that it is for; without a fresh
// one the slices keep what they have.
func (p *plan) annotate(fresh time.Time, current []*v1alpha1.ServiceRuleSlice) {
	p.triggers = map[string]time.Time{}
	if fresh.IsZero() {
		for _, c := range current {
			p.triggers[c.Name] = model.Trigger(c)
		}
		return
	}
	for _, w := range p.writes {
		p.triggers[w.Name] = fresh
	}
}
