// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/fairlead-proxy/fairlead/controllers/metrics"
)

// AddMetrics adds the controller's own metrics to a manager that has the reconcilers, and to a
// registry.
func AddMetrics(ctx context.Context, mgr ctrl.Manager, registry prometheus.Registerer) error {
	m := metrics.New(mgr.GetClient(), mgr.Elected(), clock.RealClock{})
	if err := m.Watch(ctx, mgr.GetCache()); err != nil {
		return err
	}
	for _, c := range m.Collectors() {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("register the metrics: %w", err)
		}
	}
	return mgr.Add(m)
}
