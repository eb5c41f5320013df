// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fairlead-proxy/fairlead/rules/observation"
)

// Flows are the new connections of a mode that opens them itself, see Mode.Flows. The zero value has no
// followers.
type Flows struct {
	mu        sync.Mutex // of changes
	followers atomic.Pointer[[]*follower]
}

type follower struct{ take func(observation.Flow) }

// Report reports a connection that has got an endpoint. Without followers it is one load.
func (f *Flows) Report(flow observation.Flow) {
	if followers := f.followers.Load(); followers != nil {
		for _, one := range *followers {
			one.take(flow)
		}
	}
}

// Follow calls take for each new connection until stop is called, and perhaps for some that are reported at that
// moment. The connection waits for take, which several goroutines call.
func (f *Flows) Follow(take func(observation.Flow)) (stop func()) {
	one := &follower{take}
	f.change(func(all []*follower) []*follower { return append(all, one) })
	return func() {
		f.change(func(all []*follower) []*follower {
			return slices.DeleteFunc(all, func(other *follower) bool { return other == one })
		})
	}
}

// change replaces the followers: those that Report calls are not touched.
func (f *Flows) change(to func([]*follower) []*follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*follower
	if have := f.followers.Load(); have != nil {
		all = slices.Clone(*have)
	}
	if all = to(all); len(all) == 0 {
		f.followers.Store(nil)
		return
	}
	f.followers.Store(&all)
}
