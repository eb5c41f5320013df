// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are the agent's metrics. Those that mean what kube-proxy's mean have
// its names, so that dashboards go on working.
type metrics struct {
	registry *prometheus.Registry

	syncDuration  prometheus.Histogram
	lastSync      prometheus.Gauge
	lastQueued    prometheus.Gauge
	failures      prometheus.Counter
	operations    prometheus.Counter
	repairs       prometheus.Counter
	size          *prometheus.GaugeVec
	watchFailures *prometheus.CounterVec
	healthz       *prometheus.CounterVec
	livez         *prometheus.CounterVec
}

func newMetrics() *metrics {
	const kubeproxy, fairlead = "kubeproxy", "fairlead_agent"
	m := &metrics{
		registry: prometheus.NewRegistry(),
		syncDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: kubeproxy, Name: "sync_proxy_rules_duration_seconds",
			Help: "Time to program the kernel once.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 18)}),
		lastSync: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: kubeproxy, Name: "sync_proxy_rules_last_timestamp_seconds",
			Help: "When the kernel was last programmed."}),
		lastQueued: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: kubeproxy, Name: "sync_proxy_rules_last_queued_timestamp_seconds",
			Help: "When a change last began to wait for programming."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: fairlead, Name: "programming_failures_total",
			Help: "Programmings that the kernel refused; each was tried again."}),
		operations: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: fairlead, Name: "kernel_operations_total",
			Help: "Objects added to or deleted from the kernel."}),
		repairs: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: fairlead, Name: "repairs_total",
			Help: "Kernel operations that undid what somebody else had changed."}),
		size: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: fairlead, Name: "programmed",
			Help: "What is in the kernel, by kind (services, frontends, endpoints, slices)."}, []string{"kind"}),
		watchFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: fairlead, Name: "watch_failures_total",
			Help: "Failed lists and watches, by resource."}, []string{"resource"}),
		healthz: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: kubeproxy, Name: "proxy_healthz_total",
			Help: "Answers of /healthz, by status code."}, []string{"code"}),
		livez: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: kubeproxy, Name: "proxy_livez_total",
			Help: "Answers of /livez, by status code."}, []string{"code"}),
	}
	m.registry.MustRegister(m.syncDuration, m.lastSync, m.lastQueued, m.failures, m.operations, m.repairs,
		m.size, m.watchFailures, m.healthz, m.livez,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watchHealthChecks registers the number of health check node ports, asked for
// when somebody reads the metrics.
func (m *metrics) watchHealthChecks(ports func() (open, failing int)) {
	gauge := func(state string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "fairlead_agent", Name: "health_check_ports", ConstLabels: prometheus.Labels{"state": state},
			Help: "Health check node ports, by state (open, failing)."}, func() float64 { return float64(value()) })
	}
	m.registry.MustRegister(
		gauge("open", func() int { n, _ := ports(); return n }),
		gauge("failing", func() int { _, n := ports(); return n }))
}

// observe counts a step of the loop.
func (m *metrics) observe(o outcome) {
	if !o.queued.IsZero() {
		m.lastQueued.Set(float64(o.queued.UnixMilli()) / 1000)
	}
	if o.programming != nil {
		m.failures.Inc()
		return
	}
	if o.running == nil {
		return
	}
	if o.stats.Operations > 0 || o.synced {
		m.syncDuration.Observe(o.duration.Seconds())
	}
	m.lastSync.Set(float64(o.programmed.UnixMilli()) / 1000)
	m.operations.Add(float64(o.stats.Operations))
	m.repairs.Add(float64(o.stats.Repaired))
	for kind, n := range map[string]int{
		"services": o.counts.Services, "frontends": o.counts.Frontends,
		"endpoints": o.counts.Endpoints, "slices": o.slices,
	} {
		m.size.WithLabelValues(kind).Set(float64(n))
	}
}
