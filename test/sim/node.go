// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-proxy/fairlead/agent"
	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
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
	apart     time.Time // until when the node is cut off

	// left is what the kernel had when the last agent was killed, and its journal too, until
	// an agent has reached the apiserver; nil: unknown.
	left  *model.Desired
	blind atomic.Bool // its journal may not be used, until the next calm
	mixed atomic.Bool // slices may have, or lack, newer fields with the same digest, until the next calm
}

// newerFields are those that an older agent, or an older schema, does not know.
var newerFields = []string{"internalTrafficPolicy"}

// start starts an agent.
func (n *node) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.born++
	ctx, cancel := context.WithCancel(logr.NewContext(context.Background(), n.sim.log))
	l := newLife(n, cancel)
	n.life = l
	n.client = n.sim.server.NewClient(fmt.Sprintf("%s/%d", n.name, n.born), &n.sim.group)
	n.sim.lives.add(n.client.Name, l)
	if apart := time.Until(n.apart); apart > 0 {
		n.client.Part(apart)
	}
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
	n.left = nil
	// The first write of a journal is a copy of all slices, which may be newer than those that are
	// programmed at the same time.
	first := time.Since(l.began) == 0 || n.blind.Load()
	if n.kernel.isSure() && !first {
		kernel := n.kernel.Kernel()
		n.left = &kernel
	}
}

// part cuts the node off for some time.
func (n *node) part(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.apart = time.Now().Add(d)
	if n.life != nil {
		n.client.Part(d)
	}
}

// running returns the agent; nil: there is none.
func (n *node) running() *life {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life
}

// loseLeft notes that the journal may not have what the kernel has or had.
func (n *node) loseLeft() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.left = nil
}

// checkLeft checks that an agent that has not reached the apiserver has neither lost what
// the one before has programmed, nor gone back to an older state.
func (n *node) checkLeft() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil || n.left == nil || n.life.failing.Load() {
		return
	}
	if n.life.reached.Load() {
		n.left = nil
		return
	}
	if delta := model.Diff(*n.left, n.kernel.Kernel()); !delta.Empty() {
		n.sim.fail("the agent of %s has not reached the apiserver, and the kernel has not what it had before: %v", n.name, contentOf(*n.left).without(contentOf(n.kernel.Kernel())))
	}
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

// checkFailing checks that the node does not report that it is programmed.
func (n *node) checkFailing() {
	o := n.sim.server.Get(ruleSets, n.name)
	if o == nil {
		return
	}
	var set v1alpha1.NodeRuleSet
	n.sim.must(o.Decode(&set))
	if meta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionProgrammed) {
		n.sim.fail("the kernel of %s fails for %s, and it reports Programmed: %+v", n.name, failureShown, set.Status.Conditions)
	}
}
