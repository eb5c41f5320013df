// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/report"
)

// healthyFor is how long a change may wait before the agent counts as
// unhealthy, as in kube-proxy (twice its sync period).
const healthyFor = 60 * time.Second

// syncPatience is how long one Sync may take. Changes wait for it: to write the rules of
// 50,000 Services with iptables takes minutes, and a restart would begin anew, for ever.
const syncPatience = 10 * time.Minute

// Health answers load balancers and the kubelet as kube-proxy does.
type Health struct {
	metrics *Metrics
	clock   clock.PassiveClock
	waiting func() time.Time // since when a change waits; zero: none does
	syncing func() time.Time // since when a Sync runs; zero: none does
	// unselected says that no ProxyConfig selects the node: there is nothing to program.
	unselected func() bool
	// reported returns the conditions in the API, for the times since when
	// they hold.
	reported func() []metav1.Condition

	mu   sync.Mutex
	last report.Snapshot
	// failing is since when programming fails; zero: it does not.
	failing time.Time
}

// NewHealth returns a Health. waiting and syncing return since when a change waits and a Sync
// runs (zero: none does), unselected whether there is nothing to program, reported the
// conditions in the API.
func NewHealth(m *Metrics, clk clock.PassiveClock, waiting, syncing func() time.Time, unselected func() bool,
	reported func() []metav1.Condition) *Health {
	return &Health{metrics: m, clock: clk, waiting: waiting, syncing: syncing, unselected: unselected, reported: reported}
}

// Set takes the newest snapshot.
func (h *Health) Set(s report.Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = s
	switch {
	case s.Problem(report.KernelError) == nil:
		h.failing = time.Time{}
	case h.failing.IsZero():
		h.failing = h.clock.Now()
	}
}

// healthStatus is the body of /healthz, /livez and /readyz; kube-proxy's has the same
// fields.
type healthStatus struct {
	LastUpdated time.Time `json:"lastUpdated"`
	CurrentTime time.Time `json:"currentTime"`
	// NodeEligible is only in /healthz: false while the node is about to go.
	NodeEligible *bool `json:"nodeEligible,omitempty"`
	Healthy      bool  `json:"healthy"`
}

// current says whether the loop takes what is there to take.
func (h *Health) current() healthStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, updated := h.clock.Now(), time.Time{}
	if h.last.Programmed != nil {
		updated = h.last.Programmed.Time
	}
	return healthStatus{LastUpdated: updated, CurrentTime: now, Healthy: !late(now, h.waiting())}
}

// alive is what /livez says: the loop takes what is there to take, or a Sync runs. A restart
// would not help against anything else.
func (h *Health) alive() healthStatus {
	s := h.current()
	if since := h.syncing(); !since.IsZero() {
		s.Healthy = s.CurrentTime.Sub(since) <= syncPatience
	}
	return s
}

// Alive says what /livez says.
func (h *Health) Alive() bool { return h.alive().Healthy }

// ready is what /readyz says: the kernel holds what the API asks for, and not only what
// the node had stored. A new version of the agent that does not get there must not be
// rolled out further.
func (h *Health) ready() healthStatus {
	s := h.current()
	if h.unselected() {
		return s
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Healthy = s.Healthy && h.last.UpToDate()
	return s
}

// healthy is what /healthz says: the node may get traffic, because it programs
// what it should and is not about to go.
func (h *Health) healthy() healthStatus {
	s := h.current()
	s.Healthy = s.Healthy && h.programs(s.CurrentTime)
	h.mu.Lock()
	defer h.mu.Unlock()
	eligible := h.last.Node == nil || !h.last.Node.Spec.Node.Departing
	s.NodeEligible = &eligible
	s.Healthy = s.Healthy && eligible
	return s
}

// ProxyHealthy is what the answers of health check node ports say. A node that is
// about to go still serves the endpoints that it has; these ports say when they
// are gone (KEP-3836).
func (h *Health) ProxyHealthy() bool {
	s := h.current()
	return s.Healthy && h.programs(s.CurrentTime)
}

// programs says whether the kernel was programmed and has not refused for long.
func (h *Health) programs(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last.Programmed != nil && !late(now, h.failing)
}

func late(now, since time.Time) bool { return !since.IsZero() && now.Sub(since) > healthyFor }

func (h *Health) handler(status func() healthStatus, count *prometheus.CounterVec) http.Handler {
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
		// The client is gone if this fails.
		_ = json.NewEncoder(w).Encode(status)
	})
}

// forBalancers serves :10256.
func (h *Health) forBalancers() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/healthz", h.handler(h.healthy, h.metrics.healthz))
	mux.Handle("/livez", h.handler(h.alive, h.metrics.livez))
	return mux
}

// forKubelet serves the kubelet's probes.
func (h *Health) forKubelet() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/livez", h.handler(h.alive, h.metrics.livez))
	mux.Handle("/readyz", h.handler(h.ready, h.metrics.readyz))
	return mux
}

// forMetrics serves :10249. /status is what the NodeRuleSet's status will say,
// without the delay of counts and digest there.
func (h *Health) forMetrics() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/status", h.serveStatus)
	mux.Handle("/metrics", promhttp.HandlerFor(h.metrics.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("/proxyMode", func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		fmt.Fprint(w, strings.ToLower(string(h.last.Mode())))
	})
	return mux
}

func (h *Health) serveStatus(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	last := h.last
	h.mu.Unlock()
	if last.Node == nil {
		http.Error(w, "the NodeRuleSet of this node is not known yet", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(report.StatusOf(last, h.reported(), metav1.NewTime(h.clock.Now())))
}
