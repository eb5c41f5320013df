// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
)

// WatchConntrack registers how full connection tracking is, and what has failed in it, read when the
// metrics are. One call of stats is made at a time.
func (m *Metrics) WatchConntrack(stats func(context.Context) (conntrack.Stats, error)) {
	m.Registry.MustRegister(&conntrackStats{read: stats})
}

type conntrackStats struct {
	mu   sync.Mutex
	read func(context.Context) (conntrack.Stats, error)
}

const conntrackPrefix = "fairlead_agent_conntrack_"

var (
	conntrackEntries = prometheus.NewDesc(conntrackPrefix+"entries", "Entries in the kernel's connection tracking.", nil, nil)
	conntrackLimit   = prometheus.NewDesc(conntrackPrefix+"limit", "How many entries the kernel's connection tracking may have.", nil, nil)
	conntrackFailed  = prometheus.NewDesc(conntrackPrefix+"insert_failures_total",
		"Packets that were dropped because their new entry collided with another one.", nil, nil)
	conntrackDrops = prometheus.NewDesc(conntrackPrefix+"drops_total",
		"Packets that were dropped because no entry could be made, such as in a full table.", nil, nil)
	conntrackEvictions = prometheus.NewDesc(conntrackPrefix+"early_drops_total",
		"Entries that were deleted to make room for new ones.", nil, nil)
)

func (c *conntrackStats) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{conntrackEntries, conntrackLimit, conntrackFailed, conntrackDrops, conntrackEvictions} {
		descs <- d
	}
}

// Collect shows nothing if the kernel does not answer: it may not track connections.
func (c *conntrackStats) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.read(context.Background())
	if err != nil {
		return
	}
	show := func(desc *prometheus.Desc, kind prometheus.ValueType, value uint64) {
		out <- prometheus.MustNewConstMetric(desc, kind, float64(value))
	}
	show(conntrackEntries, prometheus.GaugeValue, uint64(s.Entries))
	if s.Limit > 0 {
		show(conntrackLimit, prometheus.GaugeValue, uint64(s.Limit))
	}
	show(conntrackFailed, prometheus.CounterValue, s.InsertFailed)
	show(conntrackDrops, prometheus.CounterValue, s.Dropped)
	show(conntrackEvictions, prometheus.CounterValue, s.EarlyDropped)
}
