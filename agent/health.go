// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
)

// healthyFor is how long a change may wait before the agent counts as
// unhealthy, as in kube-proxy (twice its sync period).
const healthyFor = 60 * time.Second

// health answers load balancers and the kubelet as kube-proxy does.
type health struct {
	metrics *metrics
	clock   clock.PassiveClock
	waiting func() time.Time // since when a change waits; zero: none does
	// reported returns the conditions in the API, for the moments since when
	// they hold.
	reported func() []metav1.Condition

	mu   sync.Mutex
	last outcome
	// failing is since when programming fails; zero: it does not.
	failing time.Time
}

func (h *health) set(o outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = o
	switch {
	case o.programming == nil:
		h.failing = time.Time{}
	case h.failing.IsZero():
		h.failing = h.clock.Now()
	}
}

// healthStatus is the body of /healthz and /livez; kube-proxy's has the same
// fields.
type healthStatus struct {
	LastUpdated time.Time `json:"lastUpdated"`
	CurrentTime time.Time `json:"currentTime"`
	// NodeEligible is only in /healthz: false while the node is about to go.
	NodeEligible *bool `json:"nodeEligible,omitempty"`
	Healthy      bool  `json:"healthy"`
}

// alive is what /livez says: the loop takes what is there to take. A restart
// would not help against anything else.
func (h *health) alive() healthStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.clock.Now()
	return healthStatus{LastUpdated: h.last.programmed, CurrentTime: now, Healthy: !late(now, h.waiting())}
}

// healthy is what /healthz says: the node may get traffic, because it programs
// what it should and is not about to go.
func (h *health) healthy() healthStatus {
	s := h.alive()
	s.Healthy = s.Healthy && h.programs(s.CurrentTime)
	h.mu.Lock()
	defer h.mu.Unlock()
	eligible := h.last.node == nil || !h.last.node.Spec.Node.Departing
	s.NodeEligible = &eligible
	s.Healthy = s.Healthy && eligible
	return s
}

// proxyHealthy is what the answers of health check node ports say. A node that is
// about to go still serves the endpoints that it has; these ports tell when they
// are gone (KEP-3836).
func (h *health) proxyHealthy() bool {
	s := h.alive()
	return s.Healthy && h.programs(s.CurrentTime)
}

// programs says whether the kernel was programmed and has not refused for long.
func (h *health) programs(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last.running != nil && !late(now, h.failing)
}

func late(now, since time.Time) bool { return !since.IsZero() && now.Sub(since) > healthyFor }

func (h *health) handler(status func() healthStatus, count *prometheus.CounterVec) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		status := status()
		code := http.StatusOK
		if !status.Healthy {
			code = http.StatusServiceUnavailable
		}
		count.WithLabelValues(strconv.Itoa(code)).Inc()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(code)
		// The client is gone if this fails; there is nobody to tell.
		_ = json.NewEncoder(w).Encode(status)
	})
}

// healthMux serves :10256.
func (h *health) healthMux() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/healthz", h.handler(h.healthy, h.metrics.healthz))
	mux.Handle("/livez", h.handler(h.alive, h.metrics.livez))
	return mux
}

// metricsMux serves :10249. /status is what the NodeRuleSet's status will say,
// without the delay of counts and digest there.
func (h *health) metricsMux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/status", h.serveStatus)
	mux.Handle("/metrics", promhttp.HandlerFor(h.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("/proxyMode", func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		fmt.Fprint(w, strings.ToLower(string(h.last.mode)))
	})
	return mux
}

func (h *health) serveStatus(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	last := h.last
	h.mu.Unlock()
	if last.node == nil {
		http.Error(w, "the NodeRuleSet of this node is not known yet", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(statusOf(last, h.reported(), metav1.NewTime(h.clock.Now())))
}

// serve answers on address until ctx ends. An address in use is an error at
// once: two agents on one node would hide from each other.
func serve(ctx context.Context, address string, handler http.Handler) (wait func() error, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	done := make(chan error, 1)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			done <- fmt.Errorf("serve on %s: %w", address, err)
			return
		}
		done <- nil
	}()
	stop := context.AfterFunc(ctx, func() { server.Close() })
	return func() error { defer stop(); return <-done }, nil
}
