// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import "github.com/prometheus/client_golang/prometheus"

// metrics have kube-proxy's names and meaning.
type metrics struct {
	duration *prometheus.HistogramVec
	deleted  *prometheus.CounterVec
}

func newMetrics() metrics {
	const namespace, family = "kubeproxy", "ip_family"
	return metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "conntrack_reconciler_sync_duration_seconds",
			Help: "Time to look for stale conntrack entries.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}, []string{family}),
		deleted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "conntrack_reconciler_deleted_entries_total",
			Help: "Stale conntrack entries that were deleted."}, []string{family}),
	}
}

// Collectors are the metrics of the clean-up.
func (c *Cleaner) Collectors() []prometheus.Collector {
	return []prometheus.Collector{c.metrics.duration, c.metrics.deleted}
}
