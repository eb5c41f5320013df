// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/test/sim/apiserver"
)

// fault does an event that is a fault.
func (s *simulation) fault(e event) {
	n := s.nodes[e.a%len(s.nodes)]
	switch e.do {
	case lag, cutWatches, compact, failCalls:
		s.faultCalls(e)
	case killAgent, killAgentTorn, rebootNode, upgradeAgent:
		s.faultAgent(n, e)
	case fillDisk:
		s.impairUntilCalm()
		n.setBlind(true) // when its agent is killed
		s.must(n.disk.full())
	case failKernel:
		s.impairUntilCalm()
		n.kernel.inject(kernelFault(e.b % int(kernelFaults)))
	case driftKernel:
		s.drift(n, e)
	case killLeader:
		s.impair(e.d)
		s.leader(e).kill(e.d)
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
	switch e.do {
	case killAgentTorn:
		n.setBlind(true)
		s.must(n.disk.tear(int64(1 + e.b)))
	case upgradeAgent:
		n.old = !n.old
	case rebootNode:
		s.oracle.forget(n.name)
		n.kernel.Clear()
		s.must(n.disk.reboot())
		if e.b%2 == 0 {
			s.must(n.disk.tear(int64(1 + e.b)))
		}
		n.setBlind(true)
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
	n.kernel.Drift(func(k *model.Desired) {
		i := 0
		for key := range k.Frontends {
			if i++; i > e.b%3 {
				break
			}
			delete(k.Frontends, key)
		}
	})
}

// leader returns the replica that holds the Lease, as far as is known.
func (s *simulation) leader(e event) *controller {
	return s.replica[e.a%len(s.replica)]
}

// pauseLeader pauses a replica: what it sends is done when it goes on, even if it has lost
// the Lease or ended by then.
func (s *simulation) pauseLeader(e event) {
	c := s.leader(e).process()
	if c == nil || s.paused != nil {
		return
	}
	s.impair(e.d)
	c.Hold()
	s.paused, s.released = c, time.Now().Add(e.d)
}

func (s *simulation) faultCluster(e event) {
	switch e.do {
	case deleteSlices, dropCRD, restore:
		s.setMissing(true)
	}
	switch e.do {
	case deleteSlices:
		s.impair(0)
		for i, o := range s.server.Objects(ruleSlices) {
			if e.b%3 == 0 || i%2 == e.b%2 {
				s.server.Remove(cluster, ruleSlices, o.Meta.Name)
			}
		}
	case deleteSets:
		s.impair(0)
		for _, o := range s.server.Objects(ruleSets) {
			s.server.Remove(cluster, ruleSets, o.Meta.Name)
		}
	case foreignSlice:
		s.impair(0)
		s.foreign(e)
	case dropCRD:
		if s.crdBack.IsZero() {
			s.impair(e.d)
			s.server.Undefine(ruleSlices)
			s.crdBack = time.Now().Add(e.d)
		}
	case backup:
		s.backup = true
	case restore:
		s.restore()
	case oldSchema:
		s.impairUntilCalm()
		s.oldSchema = true
		s.server.Prune(ruleSlices, newerFields...)
	case dropPolicy:
		s.impairUntilCalm()
		s.server.Remove(cluster, proxyConfigs, "default")
	}
}

// restore restores the last backup, and with it the world of that time.
func (s *simulation) restore() {
	if s.saved == nil {
		return
	}
	s.impair(0)
	s.crdBack = time.Time{}
	world := s.saved.world.clone()
	world.pods = s.world.pods // addresses are never used again
	s.world = world
	s.oracle.update(s.world)
	s.server.Restore(s.saved.api)
}

// foreign writes a slice by hand that claims a Service's addresses, or changes one.
func (s *simulation) foreign(e event) {
	all := s.server.Objects(ruleSlices)
	if len(all) == 0 {
		return
	}
	var slice v1alpha1.ServiceRuleSlice
	s.must(all[e.a%len(all)].Decode(&slice))
	slice.ResourceVersion, slice.UID = "", ""
	slice.Spec.Endpoints = []v1alpha1.RuleEndpoint{{Address: "203.0.113.66", TargetPorts: []int32{666}, NodeName: s.nodes[0].name}}
	if e.b%2 == 0 { // a new one
		slice.Spec.ServiceNamespace, slice.Spec.ServiceName = "aaa", "taken"
		slice.Name = model.SliceNameOf(&slice.Spec)
		slice.Labels = model.SliceLabels(model.ServiceOf(&slice.Spec))
	}
	slice.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationUpdate,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}}
	s.server.Put(cluster, ruleSlices, &slice)
}
