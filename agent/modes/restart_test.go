// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package modes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/conformance"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// The policy asks for another mode while no agent runs, and the endpoints change. The next
// agent cannot program that mode at once: until it can, the mode before it follows the
// endpoints. Clients connect all the time and none fails, except while a Proxy is stopped.
func TestRestarts(t *testing.T) {
	modes := All()
	agent := run(t, emptyNode(t), modes)
	agent.ask(1, v1alpha1.ModeNFTables)
	agent.store.NodeSynced()
	agent.store.ReplaceSlices(agenttest.Listed(), true)
	supported := agent.supported(len(modes))
	agent.stop()
	for _, from := range modes {
		for _, to := range supported {
			if from.Name != to && slices.Contains(supported, from.Name) {
				t.Run(fmt.Sprint(from.Name, " to ", to), func(t *testing.T) { testRestart(t, from, to) })
			}
		}
	}
}

func testRestart(t *testing.T, from dataplane.Mode, to v1alpha1.ProxyMode) {
	const before, after = "10.244.1.2", "10.244.1.3"
	h := &handovers{Node: conformance.NewNode(t)}
	h.Serve(before+":8080", after+":8080")
	installed := &state.InstalledModes{}
	h.start(restart(t, h.Env(), h.modes(nil), installed), from.Name, before)
	h.forgetClosed()
	var clients []*client
	connect := func() { clients = []*client{h.startClient(h.Outside), h.startClient(h.Space)} }
	if from.Kind != dataplane.Proxy {
		connect()
	}
	h.agent.stop()

	may := make(chan struct{})
	h.start(restart(t, h.Env(), h.modes(&refusal{mode: to, until: may}), installed), to, after)
	h.agent.await("the old mode goes on", func(s v1alpha1.NodeRuleSetStatus) bool {
		return s.Mode == from.Name && s.ObservedGeneration == 0 && s.Programmed.Endpoints == 1
	})
	if clients == nil {
		connect()
	}
	for range 10 {
		if met, err := h.Ask(h.Outside, "tcp", net.JoinHostPort(virtual, "80")); err != nil || met != after+":8080" {
			t.Fatalf("while the new mode is not programmed a client meets %q, %v; want %s", met, err, after)
		}
	}
	open := h.hold(t)
	close(may)
	h.agent.await("the new mode is active", func(s v1alpha1.NodeRuleSetStatus) bool { return s.Mode == to && s.ObservedGeneration == 1 })
	if from.Kind == dataplane.NAT {
		open.alive(t, "when the new mode is active")
	}
	open.close()
	h.until("the old mode is cleaned up", func() bool { return h.cleaned.Load() > 0 })
	for _, c := range clients {
		again := c.served.Load() + 2
		h.until("each client connects again", func() bool { return c.served.Load() >= again || t.Failed() })
		c.stop()
	}
}

// start gives an agent its policy and the Service with one endpoint.
func (h *handovers) start(agent *agentWith, mode v1alpha1.ProxyMode, endpoint string) {
	h.agent = agent
	agent.ask(1, mode)
	agent.store.NodeSynced()
	agent.store.ReplaceSlices(agenttest.Listed(agenttest.Web(virtual, endpoint)), true)
	agent.await("something is programmed", func(s v1alpha1.NodeRuleSetStatus) bool { return s.Programmed != nil && s.Programmed.Frontends == 1 })
}

// refusal has the first Sync of a mode fail, and the second wait.
type refusal struct {
	mode  v1alpha1.ProxyMode
	until <-chan struct{}
	times atomic.Int64
}

// modes are all modes, as a new agent has them, one of which may be refused.
func (h *handovers) modes(r *refusal) []dataplane.Mode {
	modes := All()
	for i, m := range modes {
		open := h.open(m.Open)
		modes[i].Open = func(e dataplane.Env) (dataplane.Dataplane, error) {
			d, err := open(e)
			if err != nil || r == nil || r.mode != m.Name {
				return d, err
			}
			return &refused{d, r}, nil
		}
	}
	return modes
}

type refused struct {
	dataplane.Dataplane
	by *refusal
}

func (r *refused) Sync(ctx context.Context, want model.Desired, o dataplane.Options) (dataplane.Result, error) {
	if r.by.times.Add(1) == 1 {
		return dataplane.Result{}, errors.New("the kernel says no")
	}
	select {
	case <-r.by.until:
	case <-ctx.Done():
	}
	return r.Dataplane.Sync(ctx, want, o)
}
