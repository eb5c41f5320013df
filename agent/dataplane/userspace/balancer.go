// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// balancer chooses the endpoints of a frontend: round robin, unless the client has session
// affinity. It is safe for concurrent use.
type balancer struct {
	clock      clock.PassiveClock
	affinities *affinities
	inside     *atomic.Pointer[inside]

	mu       sync.Mutex
	frontend *model.Frontend

	// internal and external are the next turns. They start at random: otherwise all nodes
	// would start with the same endpoint after they all restart.
	internal, external uint32
}

func newBalancer(clk clock.PassiveClock, a *affinities, in *atomic.Pointer[inside]) *balancer {
	return &balancer{clock: clk, affinities: a, inside: in, internal: rand.Uint32(), external: rand.Uint32()}
}

// set replaces the frontend.
func (b *balancer) set(f *model.Frontend) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frontend = f
}

// service returns the Service that clients count for.
func (b *balancer) service() model.ServiceID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.frontend.Service
}

// client is the source of a connection.
type client struct {
	address netip.Addr
	link    int // that the packet arrived by
}

// choose returns the endpoint for a new connection of a client, except those that have
// been tried. Without one the client is refused.
func (b *balancer) choose(c client, tried []model.Endpoint) (model.Endpoint, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.frontend
	in := b.inside.Load()
	if !in.allows(f, c.address, c.link) {
		return model.Endpoint{}, false
	}
	backend, turn := f.External, &b.external
	if in.has(c.address, c.link) {
		backend, turn = f.Internal, &b.internal
	}
	if backend.Verdict != model.Forward || len(backend.Endpoints) == 0 {
		return model.Endpoint{}, false
	}
	if f.AffinityTimeoutSeconds == 0 {
		return next(backend.Endpoints, turn, tried)
	}
	now, timeout := b.clock.Now(), time.Duration(f.AffinityTimeoutSeconds)*time.Second
	e, sticks := b.affinities.of(f.Home(), c.address, timeout, now)
	if _, still := slices.BinarySearchFunc(backend.Endpoints, e, model.Endpoint.Compare); !sticks || !still || slices.Contains(tried, e) {
		var ok bool
		if e, ok = next(backend.Endpoints, turn, tried); !ok {
			return e, false
		}
	}
	b.affinities.note(f.Home(), c.address, e, timeout, now)
	return e, true
}

// next returns the endpoint that has the turn.
func next(endpoints []model.Endpoint, turn *uint32, tried []model.Endpoint) (model.Endpoint, bool) {
	for range endpoints {
		e := endpoints[int(*turn%uint32(len(endpoints)))]
		*turn++
		if !slices.Contains(tried, e) {
			return e, true
		}
	}
	return model.Endpoint{}, false
}
