// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package observability

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	_ "sigs.k8s.io/controller-runtime/pkg/controller" // registers metrics
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/modes"
	"github.com/fairlead-proxy/fairlead/agent/serve"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/controllers/metrics"
)

var described = regexp.MustCompile(`fqName: "([^"]*)"`)

// exportedMetrics returns the kinds of the metrics that agent and controller export, by name: "histogram"
// or "other".
func exportedMetrics(t *testing.T) map[string]string {
	t.Helper()
	agent := serve.NewMetrics()
	agent.WatchHealthChecks(func() (int, int) { return 0, 0 })
	agent.WatchPorts(func() error { return nil })
	agent.WatchHeld(func() source.Held { return source.Held{} })
	agent.WatchConntrack(func(context.Context) (conntrack.Stats, error) { return conntrack.Stats{}, nil })
	agent.AddModes(modes.All())
	controller := prometheus.NewRegistry()
	controller.MustRegister(metrics.New(nil, nil, clock.RealClock{}).Collectors()...)
	runtime, ok := ctrlmetrics.Registry.(prometheus.Collector)
	if !ok {
		t.Fatal("controller-runtime's registry cannot be described")
	}
	out := map[string]string{}
	for _, registry := range []prometheus.Collector{agent.Registry, controller, runtime} {
		descs := make(chan *prometheus.Desc, 10000)
		registry.Describe(descs)
		close(descs)
		for d := range descs {
			name := described.FindStringSubmatch(d.String())[1]
			out[name] = "other"
			if strings.HasSuffix(name, "_duration_seconds") { // all of these are
				out[name] = "histogram"
			}
		}
	}
	return out
}
