// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"cmp"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/report"
)

// AddModes registers the metrics of the modes that the agent can run.
func (m *Metrics) AddModes(modes []dataplane.Mode) {
	for _, mode := range modes {
		m.modes[mode.Name] = mode
		m.Registry.MustRegister(mode.Collectors...)
	}
}

// observeMode shows which mode is programmed, and what the node does not support in it.
func (m *Metrics) observeMode(s report.Snapshot) {
	var modes, limitations [][]string
	if name := string(s.Mode()); name != "" {
		modes = [][]string{{name, variant(s), m.scheduler(s)}}
		for _, l := range s.Limitations {
			limitations = append(limitations, []string{name, cmp.Or(string(l.Reason), "Unsupported")})
		}
	}
	m.mode.set(modes)
	m.limitations.set(limitations)
}

// variant is the variant of the mode that is programmed; empty: it has none.
func variant(s report.Snapshot) string {
	for _, c := range s.Capabilities {
		if c.Mode == s.Mode() {
			return c.Variant
		}
	}
	return ""
}

// scheduler is the scheduler that the node's rules choose; empty: the mode has no choice.
func (m *Metrics) scheduler(s report.Snapshot) string {
	mode, rules := m.modes[s.Mode()], s.Programmed.Node
	if mode.Scheduler == nil || rules == nil {
		return ""
	}
	options, err := mode.ParseOptions(rules.Spec)
	if options == nil && err != nil {
		return ""
	}
	return mode.Scheduler(options)
}

// info is a gauge whose series are 1. One that stays is never missing in between.
type info struct {
	vec   *prometheus.GaugeVec
	shown map[string][]string
}

func newInfo(vec *prometheus.GaugeVec) *info { return &info{vec: vec} }

// set replaces the series, given by the values of their labels.
func (i *info) set(series [][]string) {
	shown := map[string][]string{}
	for _, labels := range series {
		shown[strings.Join(labels, "\x00")] = labels
		i.vec.WithLabelValues(labels...).Set(1)
	}
	for key, labels := range i.shown {
		if shown[key] == nil {
			i.vec.DeleteLabelValues(labels...)
		}
	}
	i.shown = shown
}
