// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/test/sim/apiserver"
)

const (
	// apart is for how long a node is cut off when its agent crashes.
	apart = 8 * time.Second

	// failureShown is after which time a node reports that its kernel fails.
	failureShown = 70 * time.Second
)

// fault does an event that is a fault.
func (s *simulation) fault(e event) {
	n := s.nodes[e.a%len(s.nodes)]
	switch e.do {
	case lag, cutWatches, compact, failCalls, cutOff:
		s.faultCalls(e)
	case killAgent, killAgentTorn, rebootNode, upgradeAgent:
		s.faultAgent(n, e)
	case fillDisk:
		s.impairUntilCalm()
		n.blind.Store(true) // when its agent is killed
		s.must(n.disk.full())
	case failKernel:
		s.impairUntilCalm()
		n.kernel.inject(kernelFault(e.b % int(kernelFaults)))
	case breakKernel:
		s.breakKernel(n, e)
	case crashAlone:
		s.impairUntilCalm()
		n.kernel.inject(crashApart)
		s.world.change(event{do: addPod, a: e.a, b: e.b})
		s.pass(apart / 2)
	case driftKernel:
		s.drift(n, e)
	case killLeader:
		s.impair(e.d)
		s.replica[e.a%len(s.replica)].kill(e.d)
	case pauseLeader:
		s.pauseLeader(e)
	default:
		s.faultCluster(e)
	}
}

// must notes a failure of the simulation itself.
func (s *simulation) must(err error) {
	if err != nil {
		s.fail("the simulation fails: %v", err)
	}
}

// client returns one of the processes; nil: it does not run.
func (s *simulation) client(n int) *apiserver.Client {
	if n %= len(s.nodes) + len(s.replica); n < len(s.nodes) {
		return s.nodes[n].agent()
	} else {
		return s.replica[n-len(s.nodes)].process()
	}
}

func (s *simulation) faultCalls(e event) {
	c := s.client(e.a)
	switch {
	case e.do == compact:
		s.impair(0)
		s.server.Compact()
	case c == nil:
	case e.do == lag:
		s.impair(e.d)
		c.Lag([]string{"", services, endpointSlices, ruleSlices, ruleSets}[e.b%5], e.d)
	case e.do == cutOff:
		s.impair(e.d)
		if n := e.a % (len(s.nodes) + len(s.replica)); n < len(s.nodes) {
			s.nodes[n].part(e.d)
		} else {
			c.Part(e.d)
		}
	case e.do == cutWatches:
		s.impair(0)
		s.server.Cut(func(client, _ string) bool { return client == c.Name })
	case e.do == failCalls:
		s.impairUntilCalm()
		c.Inject(apiserver.Fault{Outcome: apiserver.Outcome(e.b % apiserver.Outcomes), Writes: e.b%2 == 0, Count: 1 + e.b/10%5, Pause: e.d})
	}
}

func (s *simulation) faultAgent(n *node, e event) {
	s.impair(e.d)
	n.kill(nil, e.d)
	if e.b%3 == 0 {
		s.impair(e.d + apart)
		n.part(e.d + apart)
	}
	switch e.do {
	case killAgentTorn:
		n.blind.Store(true)
		n.loseLeft()
		s.must(n.disk.tearRecord(int64(1 + e.b)))
	case upgradeAgent:
		n.old = !n.old
		n.mixed.Store(true)
	case rebootNode:
		s.oracle.forget(n.name)
		n.kernel.empty()
		s.must(n.disk.reboot())
		if n.blind.Swap(true) || e.b%2 == 0 || e.b%10 == 1 {
			n.loseLeft()
		}
		if e.b%2 == 0 {
			n.mixed.Store(true) // what is left of the journal may be of an older agent
			s.must(n.disk.tear(int64(1 + e.b)))
		}
		if e.b%10 == 1 {
			s.must(n.disk.lose())
		}
	}
}

// drift removes a frontend, as another program does. The oracle starts again: it is not the
// agent that has lost it.
func (s *simulation) drift(n *node, e event) {
	s.impair(0)
	s.oracle.forget(n.name)
	if l := n.running(); l != nil {
		l.drifts()
	}
	if n.blind.Load() {
		n.loseLeft() // what another program removes now is in no journal
	}
	n.kernel.drift(func(k *model.Desired) {
		i := 0
		for key := range k.Frontends {
			if i++; i > e.b%3 {
				break
			}
			delete(k.Frontends, key)
		}
	})
}

// pauseLeader pauses a replica: what it sends is done when it goes on, even if it has lost
// the Lease or ended by then.
func (s *simulation) pauseLeader(e event) {
	c := s.replica[e.a%len(s.replica)].process()
	if c == nil || len(s.paused) > 0 {
		return
	}
	s.pause(e.d, c)
}

func (s *simulation) pause(d time.Duration, c *apiserver.Client) {
	s.impair(d)
	c.Hold()
	s.paused, s.released = append(s.paused, c), time.Now().Add(d)
}

// breakKernel lets all programming of a node fail for some time, in which it must say so.
func (s *simulation) breakKernel(n *node, e event) {
	c := n.agent()
	if c == nil {
		return
	}
	c.Heal()
	n.part(0)
	n.kernel.fail()
	s.impair(failureShown)
	s.world.change(event{do: addPod, a: e.a, b: e.b})
	s.pass(failureShown)
	if l := n.running(); l != nil && l.failing.Load() && s.failure() == nil {
		n.checkFailing()
	}
	n.kernel.heal()
	s.impair(0)
}
