// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics has the controller's own metrics, see docs/metrics.md. No label is a Service,
// an endpoint or a node: a cluster has many.
package metrics

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	crcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const prefix = "fairlead_controller_"

// evaluateInterval is how often nodes are compared with changes.
const evaluateInterval = time.Second

// Metrics are the controller's own metrics.
type Metrics struct {
	convergence *convergence
	duration    prometheus.Histogram
	pending     prometheus.Collector
	state       state
	leads       atomic.Bool
	elected     <-chan struct{}
}

// buckets reach from a moment to minutes. Agents report changed rules once a minute at most.
var buckets = []float64{0.5, 1, 2.5, 5, 7.5, 10, 15, 20, 30, 45, 60, 75, 90, 120, 180, 300, 600}

// New returns the metrics. reader reads from the cache; elected is closed when this
// replica leads.
func New(reader client.Reader, elected <-chan struct{}, now clock.PassiveClock) *Metrics {
	m := &Metrics{state: state{reader}, elected: elected}
	m.duration = prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + "convergence_duration_seconds", Buckets: buckets,
		Help: "Time from a change of a Pod or a Service until all nodes report that it is programmed."})
	m.convergence = newConvergence(now, func(d time.Duration) {
		if m.leads.Load() { // else each replica would count it
			m.duration.Observe(max(0, d).Seconds())
		}
	})
	m.pending = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: prefix + "convergence_pending_seconds",
		Help: "Age of the oldest change that not all nodes have reported as programmed; 0: there is none."},
		func() float64 { return m.convergence.pending().Seconds() })
	return m
}

// Collectors are what to register.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.duration, m.pending, m.state}
}

// Watch has the cache notify of what is measured.
func (m *Metrics) Watch(ctx context.Context, c crcache.Cache) error {
	for kind, handler := range map[client.Object]cache.ResourceEventHandler{
		&v1alpha1.ServiceRuleSlice{}: m.sliceHandler(),
		&v1alpha1.NodeRuleSet{}:      m.nodeHandler(),
		&v1alpha1.NodeHeartbeat{}:    m.heartbeatHandler(),
	} {
		informer, err := c.GetInformer(ctx, kind, crcache.BlockUntilSynced(false))
		if err == nil {
			_, err = informer.AddEventHandler(handler)
		}
		if err != nil {
			return fmt.Errorf("watch %T for metrics: %w", kind, err)
		}
	}
	return nil
}

func (m *Metrics) sliceHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, initial bool) {
			if slice, ok := obj.(*v1alpha1.ServiceRuleSlice); ok {
				m.convergence.setSlice(nil, slice, initial)
			}
		},
		UpdateFunc: func(before, now any) {
			old, ok := before.(*v1alpha1.ServiceRuleSlice)
			if slice, also := now.(*v1alpha1.ServiceRuleSlice); ok && also {
				m.convergence.setSlice(old, slice, false)
			}
		},
		DeleteFunc: func(obj any) {
			if name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
				m.convergence.deleteSlice(name, m.convergence.clock.Now())
			}
		},
	}
}

func (m *Metrics) nodeHandler() cache.ResourceEventHandler {
	set := func(obj any) {
		if n, ok := obj.(*v1alpha1.NodeRuleSet); ok {
			m.convergence.setNode(n)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, now any) { set(now) },
		DeleteFunc: func(obj any) {
			if name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
				m.convergence.deleteNode(name)
			}
		},
	}
}

// heartbeatHandler does not heed deletions: without renewals the node soon does not count.
func (m *Metrics) heartbeatHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, initial bool) {
			if beat, ok := obj.(*v1alpha1.NodeHeartbeat); ok {
				m.convergence.renewed(beat, initial)
			}
		},
		UpdateFunc: func(before, now any) {
			old, ok := before.(*v1alpha1.NodeHeartbeat)
			if beat, also := now.(*v1alpha1.NodeHeartbeat); ok && also && !old.Spec.RenewTime.Equal(&beat.Spec.RenewTime) {
				m.convergence.renewed(beat, false)
			}
		},
	}
}

// Start compares nodes with changes until ctx ends. It implements manager.Runnable.
func (m *Metrics) Start(ctx context.Context) error {
	tick := time.NewTicker(evaluateInterval)
	defer tick.Stop()
	for elected := m.elected; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-elected:
			m.leads.Store(true)
			elected = nil
		case <-tick.C:
			m.convergence.evaluate()
		}
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica knows how far the
// nodes are, so that a new leader does not measure anew what was before.
func (m *Metrics) NeedLeaderElection() bool { return false }
