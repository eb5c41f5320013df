// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package agent runs on every node: it programs the kernel with what the node's
// NodeRuleSet and the ServiceRuleSlices say, keeps it so, and reports back.
//
//	source -> engine (rules, dataplane) -> report: status, events
//	            |                          serve: health, metrics, health check node ports
//	            +-- state: what to program at boot
//
// This package only wires them together.
package agent

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/engine"
	"github.com/fairlead-proxy/fairlead/agent/inspect"
	kernelconntrack "github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/agent/kubeproxy"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/serve"
	"github.com/fairlead-proxy/fairlead/agent/serve/healthcheck"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/kubeclient"
)

// Options are what an agent needs to run.
type Options struct {
	// NodeName is the name of the node, and of its NodeRuleSet.
	NodeName string

	// Config reaches the apiserver, and must do so without a Service's address.
	Config *rest.Config

	// Servers, if set, are those of Config. The agent adds the current endpoints of the
	// Service default/kubernetes: apiservers may change while it runs.
	Servers *kubeclient.Servers

	// StateDir is the folder of the checkpoint. Each agent needs its own.
	StateDir string

	// Addresses are where the agent serves.
	Addresses serve.Addresses

	// Inspectable says whether the agent answers `fairlead-agent inspect`, at a socket in StateDir.
	Inspectable bool

	// Sysctls are the kernel's parameters; they must be writable for a policy that
	// sets some.
	Sysctls sysctl.Tree

	// Modes are those that the agent can run.
	Modes []dataplane.Mode
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
	in := source.NewStore(clk.Now)
	in.ReachedAt(reachedAt(o))
	cp, err := state.OpenJournal(o.StateDir, in.Snapshot, in.Wake, clk)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cp.Close()) }()
	revisions := state.OpenTrial(o.StateDir, in.Wake, clk)
	defer func() { err = errors.Join(err, revisions.Close()) }()
	restored := restore(ctx, in, cp)
	o.Servers.Learn(in.APIServers())
	client, err := source.NewClient(in.Contact.Observe(o.Config))
	if err != nil {
		return err
	}

	installed, parameters := openNotes(log, o)
	m := serve.NewMetrics()
	m.AddModes(o.Modes)
	r := report.NewWriter(report.NodeStatus(client, o.NodeName), report.NodeEvents(client, o.NodeName), log.WithName("status"), clk)
	var l *engine.Loop
	h := serve.NewHealth(m, clk, in.Waiting, func() time.Time { return l.Syncing.Since() }, in.Unselected, r.Conditions)
	beat := report.NewHeartbeat(report.NodeHeartbeats(client, o.NodeName), h.Alive, log.WithName("heartbeat"), clk)
	checks := healthcheck.New(h.ProxyHealthy, report.ServiceEvents(client, o.NodeName), in.Wake, log.WithName("healthcheck"), clk)
	m.WatchHealthChecks(checks.Ports)
	ports := serve.NewPorts(log.WithName("serve"), clk, in.Wake)
	listening := func() error { return errors.Join(ports.Failure(), checks.Failure()) }
	m.WatchPorts(listening)
	m.WatchHeld(in.Held)
	counters := kernelconntrack.NewTable(0)
	defer counters.Close()
	m.WatchConntrack(counters.Stats)
	table := kernelconntrack.NewTable(0)
	finder := kubeproxy.New(in.Wake, log.WithName("kube-proxy"), clk)
	kernel := conntrack.Kernel{Table: table, Addresses: func() ([]netip.Addr, error) { return netdev.AddressesOf(netdev.Namespace(0)) }}
	cleaner := conntrack.New(kernel, m, log.WithName("conntrack"), clk, in.Wake)
	l = engine.New(engine.Config{
		NodeName: o.NodeName, Source: in, Journal: cp, Trial: revisions, Installed: installed,
		Modes: o.Modes, Env: dataplane.Env{Log: log, Sysctls: o.Sysctls},
		HealthChecks: checks.Update, Flows: cleaner, Tune: engine.Tuner(o.Sysctls, parameters), Untune: parameters.Restore, KubeProxy: finder,
		Log: log.WithName("loop"), Clock: clk,
		Report: func(out report.Snapshot) {
			o.Servers.Learn(in.APIServers())
			out = out.With(report.ListenFailed, listening()).With(report.KubeProxyCleanup, finder.Failure())
			ports.Leave(o.Addresses.Left(out)...)
			report.LogStep(log, out)
			m.Observe(out)
			h.Set(out)
			r.Set(out)
			beat.Set(out)
		},
	})

	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	failed, err := serve.Start(ctx, o.Addresses, h, ports, &group)
	if err != nil {
		return err
	}
	group.Go(func() { defer table.Close(); cleaner.Run(ctx) })
	if o.Inspectable {
		go serveInspections(ctx, o, l, log) // nothing waits for it: the disk of the folder may hang
	}
	for _, run := range []func(context.Context){checks.Run, r.Run, beat.Run, finder.Run, l.Run} {
		group.Go(func() { run(ctx) })
	}
	source.Watch(ctx, client, o.NodeName, in, r.ShowStatus, source.FailureLog(log, m.WatchFailed))
	log.Info("Started the agent", "node", o.NodeName, "fromCheckpoint", restored)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func serveInspections(ctx context.Context, o Options, l *engine.Loop, log logr.Logger) {
	if err := inspect.Serve(ctx, o.StateDir, l.Asks.Wanted, o.Modes); err != nil {
		log.Error(err, "The node cannot be inspected (kubectl fairlead rules, drift, observe)")
	}
}

// openNotes reads what earlier agents have noted about the node. What cannot be read counts
// as not noted.
func openNotes(log logr.Logger, o Options) (*state.InstalledModes, *state.Parameters) {
	installed, err := state.OpenInstalledModes(o.StateDir)
	if err != nil {
		log.Error(err, "Failed to read which modes have left traces")
	}
	parameters, err := state.OpenParameters(o.StateDir, o.Sysctls)
	if err != nil {
		log.Error(err, "Failed to read what kernel parameters were")
	}
	return installed, parameters
}

// reachedAt returns the configured addresses of the apiserver, as host:port.
func reachedAt(o Options) []string {
	if o.Servers != nil {
		return o.Servers.Given()
	}
	u, _, err := rest.DefaultServerUrlFor(o.Config)
	if err != nil {
		return nil // then there is no client either
	}
	return []string{net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443"))}
}

// restore fills the store from the checkpoint and says whether there is one.
func restore(ctx context.Context, in *source.Store, cp *state.Journal) bool {
	node, slices, err := cp.Load()
	if err != nil {
		logr.FromContextOrDiscard(ctx).Error(err, "Failed to read the whole checkpoint")
	}
	if node == nil {
		return false
	}
	in.Restore(node, slices)
	return true
}
