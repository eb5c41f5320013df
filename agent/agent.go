// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package agent runs on every node: it programs the kernel with what the node's
// NodeRuleSet and the ServiceRuleSlices say, keeps it so, and reports back.
//
//	watch -> inputs -> loop (Resolve, Table, Dataplane) -> status, health, metrics
//	                    |                                  health check node ports
//	                    +-- checkpoint: what to program at boot
package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/healthcheck"
	"github.com/fairlead-proxy/fairlead/agent/sysctl"
)

// Options are what an agent needs to run.
type Options struct {
	// NodeName is the name of the node, and of its NodeRuleSet.
	NodeName string

	// Config reaches the apiserver, and must do so without a Service's address.
	Config *rest.Config

	// StateDir is the folder of the checkpoint. Each agent needs its own.
	StateDir string

	// HealthAddress serves /healthz and /livez, MetricsAddress /metrics and
	// /proxyMode; empty: not served.
	HealthAddress, MetricsAddress string

	// Sysctls are the kernel's parameters; they must be writable for a policy that
	// sets some.
	Sysctls sysctl.Tree

	// Dataplanes are the modes that the agent can run.
	Dataplanes Dataplanes

	// Collectors are metrics besides the agent's own.
	Collectors []prometheus.Collector
}

// Run runs an agent until ctx ends. The kernel is left as it is: traffic flows
// on while no agent runs.
func Run(ctx context.Context, o Options) (err error) {
	if o.NodeName == "" {
		return errors.New("the node's name is not known: set --node-name")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	log := logr.FromContextOrDiscard(ctx)
	clk := clock.RealClock{}
	in := newInputs(clk.Now)
	cp, err := openCheckpoint(o.StateDir, in.snapshot)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cp.close()) }()
	node, slices, err := cp.load()
	if err != nil {
		log.Error(err, "Failed to read the whole checkpoint")
	}
	if node != nil {
		in.restore(node, slices)
	}
	client, err := newAPIClient(o.Config)
	if err != nil {
		return err
	}

	m := newMetrics()
	m.registry.MustRegister(o.Collectors...)
	r := newReporter(statusWriter(client, o.NodeName), eventWriter(client, o.NodeName), log.WithName("status"), clk)
	h := &health{metrics: m, clock: clk, waiting: in.waiting, reported: r.shownConditions}
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	servers := make(chan error, 2)
	if err := startServers(ctx, o, h, &group, servers); err != nil {
		return err
	}
	l := newLoop(o.NodeName, in, o.Dataplanes, cp, log.WithName("loop"), clk, func(out outcome) {
		logOutcome(log, out)
		m.observe(out)
		h.set(out)
		r.set(out)
	})
	if l.footprint, err = openFootprint(o.StateDir); err != nil {
		log.Error(err, "Failed to read which modes have left traces")
	}
	checks := healthcheck.New(h.proxyHealthy, serviceEventWriter(client, o.NodeName), log.WithName("healthcheck"), clk)
	l.answer = checks.Update
	m.watchHealthChecks(checks.Ports)
	group.Go(func() { checks.Run(ctx) })
	kernel := conntrack.NewNetlink(0)
	cleaner := conntrack.New(kernel, log.WithName("conntrack"), clk, in.wake)
	l.flows, l.tune = cleaner, tuner(o.Sysctls)
	m.registry.MustRegister(cleaner.Collectors()...)
	group.Go(func() { defer kernel.Close(); cleaner.Run(ctx) })
	group.Go(func() { r.run(ctx) })
	group.Go(func() { l.run(ctx) })
	watch(ctx, client, o.NodeName, in, r.show, watchLogger(log, m))
	log.Info("Started the agent", "node", o.NodeName, "fromCheckpoint", node != nil)
	select {
	case <-ctx.Done():
		return nil
	case err := <-servers:
		return err
	}
}

// startServers serves health and metrics; a server that ends by itself reports
// why in failed.
func startServers(ctx context.Context, o Options, h *health, group *sync.WaitGroup, failed chan<- error) error {
	for address, handler := range map[string]http.Handler{o.HealthAddress: h.healthMux(), o.MetricsAddress: h.metricsMux()} {
		if address == "" {
			continue
		}
		wait, err := serve(ctx, address, handler)
		if err != nil {
			return err
		}
		group.Go(func() {
			if err := wait(); err != nil {
				failed <- err
			}
		})
	}
	return nil
}

// logOutcome says what changed in the kernel.
func logOutcome(log logr.Logger, o outcome) {
	switch {
	case o.programming != nil:
		log.Error(o.programming, "Failed to program the kernel, will retry")
	case o.stats.Repaired > 0:
		log.Info("Repaired rules that somebody else had changed", "operations", o.stats.Repaired)
	case o.stats.Operations > 0 && o.synced:
		log.Info("Synced the kernel", "operations", o.stats.Operations, "duration", o.duration.String(), "services", o.counts.Services)
	case o.stats.Operations > 0:
		log.V(1).Info("Programmed changes", "operations", o.stats.Operations, "duration", o.duration.String())
	}
	if o.unsupported != nil {
		log.Error(o.unsupported, "Cannot run the mode of the policy")
	}
	if o.storing != nil {
		log.Error(o.storing, "Failed to write the checkpoint, will retry")
	}
}

// watchLogger says once when a watch begins to fail and when it recovers.
func watchLogger(log logr.Logger, m *metrics) func(what string, err error) {
	var mu sync.Mutex
	failing := map[string]bool{}
	return func(what string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			m.watchFailures.WithLabelValues(what).Inc()
		}
		switch {
		case err != nil && !failing[what]:
			log.Error(fmt.Errorf("watch %s: %w", what, err), "Lost the apiserver; traffic goes on with what is programmed")
		case err == nil && failing[what]:
			log.Info("The apiserver answers again", "resource", what)
		}
		failing[what] = err != nil
	}
}
