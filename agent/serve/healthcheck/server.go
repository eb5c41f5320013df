// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package healthcheck answers load balancers that ask a node whether it has
// endpoints of its own of a Service (the Service's healthCheckNodePort).
//
//	Update -> what to answer -> handler
//	       -> which ports    -> Run, which opens and closes listeners
//
// What to answer changes at once. Listeners follow in Run's goroutine, so that
// Update never waits for the kernel or the apiserver.
package healthcheck

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/backoff"
	"github.com/fairlead-proxy/fairlead/agent/serve/httpserver"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// maxNotes is how many notes may wait to be written. Others are written at the next try.
const maxNotes = 32

// errNotOpen is what the node reports: its messages name no Services, which come and go.
var errNotOpen = errors.New("health check node ports cannot be opened; events of their Services (" +
	v1alpha1.EventHealthCheckFailed + ") name them")

// Event records an event of a Service whose health checks a node cannot answer.
type Event func(ctx context.Context, service model.ServiceID, note string) error

// Server answers on the ports of all Services of the node. One HTTP server does
// it for all listeners: a Service costs a socket and the goroutine that accepts.
type Server struct {
	healthy func() bool
	event   Event
	changed func() // called when the result of Failure changes
	log     logr.Logger
	clock   clock.Clock
	bind    map[corev1.IPFamily]string // the address of listeners

	mu        sync.Mutex
	node      model.NodeSettings
	claims    resolve.HealthChecks // the first answers
	listeners map[resolve.HealthPort]net.Listener
	dirty     map[resolve.HealthPort]struct{} // to open, close or write an event of
	failing   map[resolve.HealthPort]error    // not open, or claimed twice (nil)
	failure   error
	wakeup    chan struct{}

	// Of Run's goroutine only.
	noted   map[resolve.HealthPort]map[model.ServiceID]string
	notes   chan note
	backoff backoff.Backoff
	retryAt time.Time
}

type note struct {
	service model.ServiceID
	text    string
}

// New returns a Server. healthy says whether the node's proxy works; changed is called when
// the result of Failure changes.
func New(healthy func() bool, event Event, changed func(), log logr.Logger, clk clock.Clock) *Server {
	return &Server{
		healthy: healthy, event: event, changed: changed, log: log, clock: clk,
		bind:      map[corev1.IPFamily]string{corev1.IPv4Protocol: "0.0.0.0", corev1.IPv6Protocol: "::"},
		claims:    resolve.HealthChecks{},
		listeners: map[resolve.HealthPort]net.Listener{},
		dirty:     map[resolve.HealthPort]struct{}{},
		failing:   map[resolve.HealthPort]error{},
		wakeup:    make(chan struct{}, 1),
		noted:     map[resolve.HealthPort]map[model.ServiceID]string{},
		notes:     make(chan note, maxNotes),
		backoff:   httpserver.Retry(),
	}
}

// Update takes the node's settings, and what resolve.Table.FlushHealthChecks
// returned. It does not wait for anything.
func (s *Server) Update(node model.NodeSettings, changes resolve.HealthChecks) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node = node
	for port, claims := range changes {
		before := s.claims[port]
		if len(claims) == 0 {
			delete(s.claims, port)
		} else {
			s.claims[port] = claims
		}
		// A mere count, which is most changes, concerns no listener.
		if len(before) != 1 || len(claims) != 1 || before[0].Service != claims[0].Service {
			s.dirty[port] = struct{}{}
		}
	}
	s.wake()
}

// wake wakes Run, if there is something to do. The caller holds mu.
func (s *Server) wake() {
	if len(s.dirty) == 0 {
		return
	}
	select {
	case s.wakeup <- struct{}{}:
	default:
	}
}

// Ports returns how many ports the server answers on, and at how many something
// is wrong.
func (s *Server) Ports() (open, failing int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.listeners), len(s.failing)
}

// Failure returns why ports are not open; nil: all are.
func (s *Server) Failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// Run opens and closes listeners until ctx ends, and then closes them all.
func (s *Server) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	server := httpserver.New(s, s.log)
	// A connection that stays open would get answers after its listener has
	// closed, and balancers make a new one for each question anyway.
	server.SetKeepAlivesEnabled(false)
	defer func() {
		if err := server.Close(); err != nil {
			s.log.Error(err, "Failed to close the health check ports")
		}
	}()
	group.Go(func() { s.writeNotes(ctx) })
	for {
		var retry <-chan time.Time
		if wait := s.step(ctx, func(port resolve.HealthPort, l net.Listener) {
			group.Go(func() { s.serve(server, port, l) })
		}); wait > 0 {
			retry = s.clock.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wakeup:
		case <-retry:
		}
	}
}

// serve accepts connections until the listener closes.
func (s *Server) serve(server *http.Server, port resolve.HealthPort, l net.Listener) {
	err := server.Serve(l)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return
	}
	s.log.Error(err, "Failed to accept health checks, will open the port again", "port", port.Number)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners[port] == l {
		delete(s.listeners, port)
		s.dirty[port] = struct{}{}
		s.wake()
	}
}

// step makes the listeners of the touched ports what they should be, and tries
// failed ones again when it is time. It returns after which time to try again;
// 0: nothing failed.
func (s *Server) step(ctx context.Context, serve func(resolve.HealthPort, net.Listener)) time.Duration {
	s.mu.Lock()
	ports := s.dirty
	s.dirty = map[resolve.HealthPort]struct{}{}
	due := len(s.failing) > 0 && !s.clock.Now().Before(s.retryAt)
	if due {
		for port := range s.failing {
			ports[port] = struct{}{}
		}
	}
	s.mu.Unlock()
	for port := range ports {
		if l := s.settle(ctx, port); l != nil {
			serve(port, l)
		}
	}
	s.sum()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.failing) == 0:
		s.backoff.Reset()
		s.retryAt = time.Time{}
		return 0
	case due || s.retryAt.IsZero():
		s.retryAt = s.clock.Now().Add(s.backoff.Next())
	}
	return max(s.retryAt.Sub(s.clock.Now()), time.Millisecond)
}

// sum makes one Failure of the ports that are not open.
func (s *Server) sum() {
	s.mu.Lock()
	before := s.failure
	s.failure = nil
	for _, err := range s.failing {
		if err != nil {
			s.failure = errNotOpen
		}
	}
	differs := !errors.Is(s.failure, before)
	s.mu.Unlock()
	if differs {
		s.changed()
	}
}

// settle opens or closes a port, and notes what is wrong. It returns a
// listener that it has opened.
func (s *Server) settle(ctx context.Context, port resolve.HealthPort) net.Listener {
	s.mu.Lock()
	claims, old := s.claims[port], s.listeners[port]
	delete(s.failing, port)
	s.mu.Unlock()
	var opened net.Listener
	var err error
	switch {
	case len(claims) == 0 && old != nil:
		err = old.Close()
		if err != nil {
			s.log.Error(err, "Failed to close a health check port", "port", port.Number)
		}
	case len(claims) > 0 && old == nil:
		opened, err = s.listen(ctx, port)
	}
	s.note(port, claims, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(claims) == 0 {
		delete(s.listeners, port)
	} else if err != nil || len(claims) > 1 {
		s.failing[port] = err
	}
	if opened != nil {
		s.listeners[port] = opened
	}
	return opened
}
