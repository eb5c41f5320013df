// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import "github.com/prometheus/client_golang/prometheus"

// Collectors returns the metrics of the connections, see docs/metrics.md.
func (c *Connections) Collectors() []prometheus.Collector {
	open := func(protocol string, count func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairlead_agent_userspace_connections", ConstLabels: prometheus.Labels{"protocol": protocol},
			Help: "Open connections and sessions that the agent proxies itself, by protocol (tcp, udp)."},
			func() float64 {
				c.mu.Lock()
				defer c.mu.Unlock()
				return float64(count())
			})
	}
	return []prometheus.Collector{
		open("tcp", func() int { return len(c.tcp) }),
		open("udp", func() int { return c.sessions }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "fairlead_agent_userspace_refused_connections_total",
			Help: "Connections and sessions that were refused because no file descriptor was free, or their client or Service held its share."},
			func() float64 {
				c.mu.Lock()
				defer c.mu.Unlock()
				return float64(c.refused)
			}),
	}
}
