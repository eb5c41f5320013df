// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"net/netip"
	"sync"
	"time"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// maxClients bounds the clients with session affinity that are remembered. Further ones
// are balanced as without affinity.
const maxClients = 262144

// affinities remember the endpoint of each client. Frontends with the same
// model.Frontend.PortKey share their clients.
type affinities struct {
	mu      sync.Mutex
	limit   int
	size    int
	clients map[model.FrontendKey]map[netip.Addr]met
	swept   time.Time
}

// met is the endpoint of a client, when it last opened a connection, and the timeout at
// that time.
type met struct {
	endpoint model.Endpoint
	at       time.Time
	timeout  time.Duration
}

func newAffinities() *affinities {
	return &affinities{limit: maxClients, clients: map[model.FrontendKey]map[netip.Addr]met{}}
}

// of returns the endpoint of a client, if it has one. The current timeout of the frontend
// applies.
func (a *affinities) of(key model.FrontendKey, client netip.Addr, timeout time.Duration, now time.Time) (model.Endpoint, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m, known := a.clients[key][client]
	return m.endpoint, known && now.Sub(m.at) < timeout
}

// note remembers that a client opened a connection to an endpoint.
func (a *affinities) note(key model.FrontendKey, client netip.Addr, e model.Endpoint, timeout time.Duration, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.clients[key][client]; !known {
		if a.size >= a.limit {
			a.sweep(now)
		}
		if a.size >= a.limit {
			return
		}
		a.size++
	}
	if a.clients[key] == nil {
		a.clients[key] = map[netip.Addr]met{}
	}
	a.clients[key][client] = met{endpoint: e, at: now, timeout: timeout}
}

// sweepInterval is how often expired clients are removed: a full table must not be
// searched for each new client.
const sweepInterval = time.Minute

// sweep removes expired clients.
func (a *affinities) sweep(now time.Time) {
	if now.Sub(a.swept) < sweepInterval {
		return
	}
	a.swept = now
	for key, clients := range a.clients {
		for client, m := range clients {
			if now.Sub(m.at) >= m.timeout {
				delete(clients, client)
				a.size--
			}
		}
		if len(clients) == 0 {
			delete(a.clients, key)
		}
	}
}

// tidy removes expired clients, and those of frontends that no longer have session
// affinity.
func (a *affinities) tidy(used map[model.FrontendKey]struct{}, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, clients := range a.clients {
		if _, ok := used[key]; !ok {
			a.size -= len(clients)
			delete(a.clients, key)
		}
	}
	a.sweep(now)
}
