// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// readTimeout bounds how long a scrape waits for the cache of a controller that has just started.
const readTimeout = time.Second

// phases are all that a ProxyRollout may be in.
var phases = []v1alpha1.RolloutPhase{
	v1alpha1.RolloutPending, v1alpha1.RolloutBlocked, v1alpha1.RolloutUpdating, v1alpha1.RolloutVerifying,
	v1alpha1.RolloutSoaking, v1alpha1.RolloutAwaitingApproval, v1alpha1.RolloutPaused, v1alpha1.RolloutRollingBack,
	v1alpha1.RolloutRolledBack, v1alpha1.RolloutSucceeded, v1alpha1.RolloutSuperseded,
}

var (
	nodesDesc = prometheus.NewDesc(prefix+"policy_nodes",
		"Nodes of a ProxyConfig, by state (selected, programmed, failing, not_ready).", []string{"policy", "state"}, nil)
	phaseDesc = prometheus.NewDesc(prefix+"rollout_phase",
		"1 for the phase that a ProxyRollout is in, 0 for the others.", []string{"rollout", "phase"}, nil)
)

// state collects what the status of ProxyConfigs and ProxyRollouts says, from the cache.
type state struct{ reader client.Reader }

func (s state) Describe(descs chan<- *prometheus.Desc) {
	descs <- nodesDesc
	descs <- phaseDesc
}

func (s state) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	gauge := func(desc *prometheus.Desc, value int32, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	// Without an answer there is nothing to say: the cache is not filled yet.
	var configs v1alpha1.ProxyConfigList
	if s.reader.List(ctx, &configs, client.UnsafeDisableDeepCopy) == nil {
		for _, config := range configs.Items {
			if nodes := config.Status.Nodes; nodes != nil {
				gauge(nodesDesc, nodes.Selected, config.Name, "selected")
				gauge(nodesDesc, nodes.Programmed, config.Name, "programmed")
				gauge(nodesDesc, nodes.Failing, config.Name, "failing")
				gauge(nodesDesc, nodes.NotReady, config.Name, "not_ready")
			}
		}
	}
	var rollouts v1alpha1.ProxyRolloutList
	if s.reader.List(ctx, &rollouts, client.UnsafeDisableDeepCopy) == nil {
		for _, rollout := range rollouts.Items {
			for _, phase := range phases {
				value := int32(0)
				if rollout.Status.Phase == phase {
					value = 1
				}
				gauge(phaseDesc, value, rollout.Name, string(phase))
			}
		}
	}
}
