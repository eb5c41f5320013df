// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metricstest reads metrics in tests.
package metricstest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// Sample returns the value of a metric, or the sample count and sum of a histogram.
func Sample(t *testing.T, registry prometheus.Gatherer, name string, labels ...string) (value, sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			var values []string
			for _, l := range s.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && cmp.Equal(values, labels) {
				h := s.GetHistogram()
				return s.GetCounter().GetValue() + s.GetGauge().GetValue() + float64(h.GetSampleCount()), h.GetSampleSum()
			}
		}
	}
	t.Fatalf("no metric %s %v", name, labels)
	return 0, 0
}
