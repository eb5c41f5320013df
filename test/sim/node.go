// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead-proxy/fairlead/agent"
	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/test/sim/apiserver"
)

// node is a node with its kernel, its disk and, mostly, an agent.
type node struct {
	sim    *simulation
	name   string
	kernel *kernel
	disk   *disk

	mu        sync.Mutex
	life      *life     // of the agent; nil: none runs
	restartAt time.Time // when there is none
	client    *apiserver.Client
	old       bool // the agent does not know newer fields
	born      int
	blind     bool // its journal may not be used, until the next calm
}

// newerFields are those that an older agent, or an older schema, does not know.
var newerFields = []string{"internalTrafficPolicy"}

// start starts an agent.
func (n *node) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.born++
	ctx, cancel := context.WithCancel(logr.NewContext(context.Background(), n.sim.log))
	l := &life{cancel: cancel}
	n.life = l
	n.client = n.sim.server.NewClient(fmt.Sprintf("%s/%d", n.name, n.born), &n.sim.group)
	if n.old {
		n.client.Hide(ruleSlices, newerFields...)
	}
	o := agent.Options{NodeName: n.name, Config: n.client.Config(), StateDir: n.disk.dir,
		Sysctls: sysctl.Tree{Root: n.sim.sysctls}, Modes: []dataplane.Mode{n.kernel.mode(l)}}
	n.sim.group.Go(func() {
		if err := agent.Run(ctx, o); err != nil && !l.over.Load() {
			n.sim.fail("the agent of %s ends: %v", n.name, err)
		}
		cancel()
		if err := os.RemoveAll(o.StateDir); err != nil && l.over.Load() {
			n.sim.fail("remove a state folder: %v", err)
		}
	})
}

// kill kills the agent, if it runs, as kill -9 does. Another one starts after some time.
func (n *node) kill(l *life, restart time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l == nil {
		l = n.life
	}
	if l == nil || l.over.Swap(true) {
		return
	}
	if err := n.disk.take(); err != nil {
		n.sim.fail("take over the state of a killed agent: %v", err)
	}
	n.client.Kill()
	l.cancel()
	n.life, n.restartAt = nil, time.Now().Add(restart)
}

// tend starts an agent when it is time.
func (n *node) tend() {
	n.mu.Lock()
	due := n.life == nil && !time.Now().Before(n.restartAt)
	n.mu.Unlock()
	if due {
		n.start()
	}
}

// agent returns the client of the running agent; nil: there is none.
func (n *node) agent() *apiserver.Client {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil {
		return nil
	}
	return n.client
}

func (n *node) setBlind(blind bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.blind = blind
}

func (n *node) isBlind() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.blind
}
