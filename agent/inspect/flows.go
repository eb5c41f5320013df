// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/observation"
)

// What observers may cost the agent.
const (
	maxObservers = 8
	maxQueued    = 4096                  // flows of an observer that are not sent yet
	gather       = 40 * time.Millisecond // how long to wait for more of them after one
)

// flowsSocketOf returns the socket in a state folder where the agent sends flows of the modes that open connections
// themselves. The observer sends conntrack.Selections, the agent an accepted and then batches.
func flowsSocketOf(stateDir string) string { return filepath.Join(stateDir, "flows.sock") }

// accepted is the answer to the first selection: from then on flows are sent, unless there is an error.
type accepted struct {
	Error string `json:"error,omitempty"`
}

// batch is what is sent together. Dropped is how many flows were too many for the queue, since the beginning.
type batch struct {
	Flows   []observation.Flow `json:"flows"`
	Dropped uint32             `json:"dropped"`
}

// followAll has take called for the flows of all modes.
func followAll(modes []dataplane.Mode) follow {
	return func(take func(observation.Flow)) (stop func()) {
		var stops []func()
		for _, m := range modes {
			if opens(m) {
				stops = append(stops, m.Flows.Follow(take))
			}
		}
		return func() {
			for _, stop := range stops {
				stop()
			}
		}
	}
}

// follow is dataplane.Flows.Follow.
type follow func(take func(observation.Flow)) (stop func())

// serveFlows serves observers until ctx ends.
func serveFlows(ctx context.Context, stateDir string, flows follow) error {
	ctx, end := context.WithCancel(ctx)
	var observers sync.WaitGroup
	defer func() { end(); observers.Wait() }()
	places := make(chan struct{}, maxObservers)
	return listen(ctx, flowsSocketOf(stateDir), func(conn net.Conn) {
		select {
		case places <- struct{}{}:
		default:
			_ = json.NewEncoder(conn).Encode(accepted{fmt.Sprintf("%d observers are served already", maxObservers)}) // what matters is that it ends
			_ = conn.Close()
			return
		}
		observers.Go(func() {
			defer func() { <-places }()
			if err := sendFlows(ctx, conn, flows); err != nil && ctx.Err() == nil {
				logr.FromContextOrDiscard(ctx).V(1).Info("An observation has ended", "reason", err.Error())
			}
		})
	})
}

// sendFlows sends flows until the observer closes the connection, or ctx ends.
func sendFlows(ctx context.Context, conn net.Conn, flows follow) error {
	ctx, end := context.WithCancelCause(ctx)
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() { _ = conn.Close(); close(closed) }) // what matters is written
	var reading sync.WaitGroup
	defer func() { end(nil); <-closed; reading.Wait() }()
	q := &queue{some: make(chan struct{}, 1)}
	decode := json.NewDecoder(conn)
	if err := errors.Join(conn.SetReadDeadline(time.Now().Add(patience)), q.readSelection(decode), conn.SetReadDeadline(time.Time{})); err != nil {
		return err
	}
	defer flows(q.put)()
	encode := json.NewEncoder(conn)
	if err := encode.Encode(accepted{}); err != nil {
		return err
	}
	reading.Go(func() {
		for {
			if err := q.readSelection(decode); err != nil {
				end(err)
				return
			}
		}
	})
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-q.some:
		}
		select {
		case <-ctx.Done():
		case <-time.After(gather):
		}
		if err := encode.Encode(q.take()); err != nil {
			return err
		}
	}
}

// queue keeps the flows that an observer has selected until they are sent. It never waits for the observer.
type queue struct {
	selected atomic.Pointer[selected]
	some     chan struct{} // there is something to take

	mu sync.Mutex
	batch
}

func (q *queue) readSelection(decode *json.Decoder) error {
	var s conntrack.Selection
	if err := decode.Decode(&s); err != nil {
		return fmt.Errorf("read what an observer selects: %w", err)
	}
	q.selected.Store(selectedBy(s))
	return nil
}

// put adds a flow, unless it is not selected.
func (q *queue) put(f observation.Flow) {
	if !q.selected.Load().has(f) {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.Flows) == maxQueued {
		q.Dropped++
		return
	}
	if q.Flows = append(q.Flows, f); len(q.Flows) == 1 {
		q.some <- struct{}{} // there is room: it is received before the queue is emptied
	}
}

// take empties the queue.
func (q *queue) take() batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.batch
	q.Flows = nil
	return out
}

// selected is a conntrack.Selection. No maps: everything.
type selected struct {
	clients      map[netip.Addr]struct{}
	destinations map[model.FrontendKey]struct{}
}

func selectedBy(s conntrack.Selection) *selected {
	out := &selected{}
	if s.Clients != nil {
		out.clients = map[netip.Addr]struct{}{}
	}
	for _, c := range s.Clients {
		out.clients[c] = struct{}{}
	}
	if s.Destinations != nil {
		out.destinations = map[model.FrontendKey]struct{}{}
	}
	for _, d := range s.Destinations {
		out.destinations[model.FrontendKey{Address: d.Address, Protocol: model.Protocol(d.Protocol), Port: d.Port}] = struct{}{}
	}
	return out
}

func (s *selected) has(f observation.Flow) bool {
	if _, of := s.clients[f.Client.Addr()]; s.clients != nil && !of {
		return false
	}
	key := f.Key()
	_, at := s.destinations[key]
	_, nodePort := s.destinations[key.NodePort()]
	return s.destinations == nil || at || nodePort
}
