// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Metrics are the agent's metrics, see docs/metrics.md. Those that mean what
// kube-proxy's mean have its names, so that dashboards go on working.
type Metrics struct {
	Registry *prometheus.Registry

	latency                               prometheus.Histogram
	syncDuration, fullSync, partialSync   prometheus.Histogram
	lastSync, lastQueued                  prometheus.Gauge
	stranded, size                        *prometheus.GaugeVec
	failures, operations, repairs         prometheus.Counter
	returns                               prometheus.Counter
	returned                              int64 // counted in returns
	watchFailures, healthz, livez, readyz *prometheus.CounterVec
	conntrackPass                         *prometheus.HistogramVec
	conntrackDeleted                      *prometheus.CounterVec

	mode, limitations *info
	modes             map[v1alpha1.ProxyMode]dataplane.Mode
}

// latencyBuckets are kube-proxy's from 0.25 s on, and finer ones below.
var latencyBuckets = slices.Concat(
	[]float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5},
	prometheus.LinearBuckets(1, 1, 59),
	prometheus.LinearBuckets(60, 5, 12),
	prometheus.LinearBuckets(120, 30, 7))

// syncBuckets are kube-proxy's from 1 ms on, and finer ones below.
var syncBuckets = prometheus.ExponentialBuckets(0.000125, 2, 18)

// conntrackBuckets are kube-proxy's.
var conntrackBuckets = prometheus.ExponentialBuckets(0.001, 2, 15)

// NewMetrics returns the metrics, in a registry of their own.
func NewMetrics() *Metrics {
	const kubeproxy, fairlead = "kubeproxy_", "fairlead_agent_"
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	with := promauto.With(registry)
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return with.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return with.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return with.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	return &Metrics{
		Registry: registry,
		latency: histogram(kubeproxy+"network_programming_duration_seconds",
			"Time from a change of a Pod or a Service to the kernel.", latencyBuckets),
		syncDuration: histogram(kubeproxy+"sync_proxy_rules_duration_seconds",
			"Time to program the kernel once.", syncBuckets),
		fullSync: histogram(kubeproxy+"sync_full_proxy_rules_duration_seconds",
			"Time to compare all rules with the kernel and to program what differs.", syncBuckets),
		partialSync: histogram(kubeproxy+"sync_partial_proxy_rules_duration_seconds",
			"Time to program what changed.", syncBuckets),
		lastSync: gauge(kubeproxy+"sync_proxy_rules_last_timestamp_seconds",
			"When the kernel was last programmed.").WithLabelValues(),
		lastQueued: gauge(kubeproxy+"sync_proxy_rules_last_queued_timestamp_seconds",
			"When a change last began to wait for programming.").WithLabelValues(),
		stranded: gauge(kubeproxy+"sync_proxy_rules_no_local_endpoints_total",
			"Service ports that a Local policy leaves without endpoints on this node, while there are some elsewhere.", "traffic_policy"),
		failures: counter(fairlead+"programming_failures_total",
			"Sync attempts rejected by the kernel; each was tried again.").WithLabelValues(),
		operations: counter(fairlead+"kernel_operations_total",
			"Objects added to or deleted from the kernel.").WithLabelValues(),
		repairs: counter(fairlead+"repairs_total",
			"Kernel operations that restored rules after external changes.").WithLabelValues(),
		returns: counter(fairlead+"revision_returns_total",
			"Returns to the policy before, because a revision was not verified in time.").WithLabelValues(),
		size: gauge(fairlead+"programmed",
			"What is in the kernel, by kind (services, frontends, endpoints, slices).", "kind"),
		conntrackPass: with.NewHistogramVec(prometheus.HistogramOpts{Name: kubeproxy + "conntrack_reconciler_sync_duration_seconds",
			Help: "Time to look for stale conntrack entries.", Buckets: conntrackBuckets}, []string{"ip_family"}),
		conntrackDeleted: counter(kubeproxy+"conntrack_reconciler_deleted_entries_total",
			"Stale conntrack entries that were deleted.", "ip_family"),
		watchFailures: counter(fairlead+"watch_failures_total",
			"Failed lists and watches, by resource.", "resource"),
		healthz: counter(kubeproxy+"proxy_healthz_total",
			"Answers of /healthz, by status code.", "code"),
		livez: counter(kubeproxy+"proxy_livez_total",
			"Answers of /livez, by status code.", "code"),
		readyz: counter(fairlead+"readyz_total",
			"Answers of /readyz, by status code.", "code"),
		mode: newInfo(gauge(fairlead+"mode_info",
			"1 for the mode that is programmed, with its variant and scheduler, if it has some.", "mode", "variant", "scheduler")),
		limitations: newInfo(gauge(fairlead+"limitations",
			"1 for each limitation of this node in its mode, by reason.", "mode", "reason")),
		modes: map[v1alpha1.ProxyMode]dataplane.Mode{},
	}
}

// WatchHealthChecks registers the number of health check node ports, read when
// the metrics are.
func (m *Metrics) WatchHealthChecks(ports func() (open, failing int)) {
	gauge := func(state string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairlead_agent_health_check_ports", ConstLabels: prometheus.Labels{"state": state},
			Help: "Health check node ports, by state (open, failing)."}, func() float64 { return float64(value()) })
	}
	m.Registry.MustRegister(
		gauge("open", func() int { n, _ := ports(); return n }),
		gauge("failing", func() int { _, n := ports(); return n }))
}

// LookedForStaleFlows implements conntrack.Metrics.
func (m *Metrics) LookedForStaleFlows(family corev1.IPFamily, took time.Duration, deleted int) {
	m.conntrackPass.WithLabelValues(string(family)).Observe(took.Seconds())
	m.conntrackDeleted.WithLabelValues(string(family)).Add(float64(deleted))
}

// WatchFailed counts a failed list or watch of a resource.
func (m *Metrics) WatchFailed(resource string) { m.watchFailures.WithLabelValues(resource).Inc() }

// WatchPorts registers whether kube-proxy's ports are served, read when the metrics are.
func (m *Metrics) WatchPorts(failure func() error) {
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fairlead_agent_listening", Help: "1: all ports are open; 0: another program holds some."},
		func() float64 {
			if failure() != nil {
				return 0
			}
			return 1
		}))
}

// WatchHeld registers what the source holds, read when the metrics are.
func (m *Metrics) WatchHeld(held func() source.Held) {
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fairlead_agent_held_endpoints", Help: "Endpoints whose removal is held, because the apiserver still has them."},
		func() float64 { return float64(held().Endpoints) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairlead_agent_held_slices", Help: "ServiceRuleSlices whose removal or change is held."},
			func() float64 { return float64(held().Slices) }))
}

// Observe counts a step of the engine.
func (m *Metrics) Observe(s report.Snapshot) {
	m.observeMode(s)
	m.returns.Add(float64(s.Returns - m.returned))
	m.returned = s.Returns
	if !s.Step.Queued.IsZero() {
		m.lastQueued.Set(float64(s.Step.Queued.UnixMilli()) / 1000)
	}
	if s.Problem(report.KernelError) != nil {
		m.failures.Inc()
		return
	}
	if s.Programmed == nil {
		return
	}
	m.observeStep(s.Step, s.Programmed.Time)
	counts := s.Programmed.Counts
	m.stranded.WithLabelValues("internal").Set(float64(counts.Stranded.Internal))
	m.stranded.WithLabelValues("external").Set(float64(counts.Stranded.External))
	m.lastSync.Set(float64(s.Programmed.Time.UnixMilli()) / 1000)
	for kind, n := range map[string]int{
		"services": counts.Services, "frontends": counts.Frontends,
		"endpoints": counts.Endpoints, "slices": s.Programmed.Slices,
	} {
		m.size.WithLabelValues(kind).Set(float64(n))
	}
}

// observeStep counts what a step did that ended at a moment.
func (m *Metrics) observeStep(did report.Step, ended time.Time) {
	if did.Operations > 0 || did.Synced {
		m.syncDuration.Observe(did.Duration.Seconds())
		kind := m.partialSync
		if did.Synced {
			kind = m.fullSync
		}
		kind.Observe(did.Duration.Seconds())
	}
	for _, began := range did.Began {
		m.latency.Observe(max(0, ended.Sub(began)).Seconds()) // clocks differ
	}
	m.operations.Add(float64(did.Operations))
	m.repairs.Add(float64(did.Repaired))
}
