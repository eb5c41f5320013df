// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// quiet is the end of a calm: by then everything has been right for some time.
const quiet = time.Minute

// calm ends all faults, lets time pass, and checks that everything is as wanted and that
// nothing is written any more.
func (s *simulation) calm() {
	s.heal()
	s.pass(recovery)
	if (calmed{s}).retryRollouts() {
		s.pass(recovery)
	}
	s.writes.reset()
	s.pass(quiet)
	if s.failure() != nil {
		return
	}
	c := calmed{s}
	for _, n := range s.nodes {
		c.checkKernel(n)
		c.checkStatus(n)
	}
	c.checkSlices()
	c.checkPolicy()
	c.checkRevisions()
	c.checkWrites()
	s.oracle.pardon()
	for _, n := range s.nodes {
		n.blind.Store(false)
		n.mixed.Store(false)
	}
	if s.backup {
		s.backup, s.saved = false, &saved{api: s.server.Backup(), world: s.world.clone(), policy: s.policy}
	}
}

// heal ends all faults.
func (s *simulation) heal() {
	s.health.heal()
	s.server.Define(ruleSlices)
	s.crdBack = time.Time{}
	for _, p := range s.paused {
		p.Release()
	}
	s.paused = nil
	if s.oldSchema {
		s.oldSchema = false
		s.server.Prune(ruleSlices)
	}
	if s.server.Get(proxyConfigs, "default") == nil {
		s.putPolicy()
	}
	for _, n := range s.nodes {
		n.kernel.heal()
		s.must(n.disk.heal())
		n.part(0)
		if c := n.agent(); c != nil {
			c.Heal()
		}
	}
	for _, c := range s.replica {
		if p := c.process(); p != nil {
			p.Heal()
		}
	}
}

// calmed is a simulation after some time without faults.
type calmed struct{ *simulation }

// checkKernel checks that the kernel of a node has exactly what is wanted.
func (s calmed) checkKernel(n *node) {
	has, kernel := map[netip.AddrPort]map[netip.AddrPort]bool{}, n.kernel.Kernel()
	if sources, want := fmt.Sprint(kernel.Node.NodePortSources), fmt.Sprint(policy(s.policy).Spec.NodePort.SourceRanges); sources != want {
		s.fail("calm: the kernel of %s allows %s, and not %s", n.name, sources, want)
	}
	for key, f := range kernel.Frontends {
		endpoints := map[netip.AddrPort]bool{}
		for _, e := range f.Internal.Endpoints {
			endpoints[e] = true
		}
		has[netip.AddrPortFrom(key.Address, key.Port)] = endpoints
	}
	wanted := s.oracle.wanted(n.name, !n.old)
	for at, endpoints := range wanted {
		if has[at] == nil {
			s.fail("calm: the kernel of %s does not have %s", n.name, at)
		} else if !maps.Equal(has[at], endpoints) {
			s.fail("calm: the kernel of %s leads %s to %v, and not to %v", n.name, at, has[at], endpoints)
		}
	}
	for at := range has {
		if wanted[at] == nil {
			s.fail("calm: the kernel of %s has %s, which no Service has", n.name, at)
		}
	}
}

// checkStatus checks that a node reports what is programmed.
func (s calmed) checkStatus(n *node) {
	o := s.server.Get(ruleSets, n.name)
	if o == nil {
		s.fail("calm: there is no NodeRuleSet of %s", n.name)
		return
	}
	var set v1alpha1.NodeRuleSet
	s.must(o.Decode(&set))
	if c := meta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionProgrammed); c == nil || c.Status != "True" {
		s.fail("calm: %s does not report Programmed: %+v", n.name, set.Status.Conditions)
	}
	if meta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionDegraded) {
		s.fail("calm: %s reports Degraded: %+v", n.name, set.Status.Conditions)
	}
	var digests []string
	for _, slice := range s.slices() {
		digests = append(digests, slice.Spec.Digest)
	}
	if want := model.XORDigest(digests...); set.Status.RulesDigest != want {
		s.fail("calm: %s reports the digest %s of its slices, and not %s", n.name, set.Status.RulesDigest, want)
	}
}

// slices returns the ServiceRuleSlices.
func (s calmed) slices() []v1alpha1.ServiceRuleSlice {
	objects := s.server.Objects(ruleSlices)
	out := make([]v1alpha1.ServiceRuleSlice, len(objects))
	for i, o := range objects {
		s.must(o.Decode(&out[i]))
	}
	return out
}

// checkSlices checks that the apiserver has the slices of the Services, and no others.
func (s calmed) checkSlices() {
	want := map[string]bool{}
	for _, svc := range s.world.services {
		if !svc.other {
			want[svc.namespace()+"/"+svc.name] = true
		}
	}
	has := map[string]bool{}
	for _, slice := range s.slices() {
		name := slice.Spec.ServiceNamespace + "/" + slice.Spec.ServiceName
		has[name] = true
		if err := model.CheckOrigin(&slice); err != nil {
			s.fail("calm: the slice %s is foreign: %v", slice.Name, err)
		}
		if model.IsObsolete(&slice) {
			s.fail("calm: the slice %s is obsolete", slice.Name)
		}
	}
	if !maps.Equal(want, has) {
		s.fail("calm: there are slices of %v, and not of %v", slices.Sorted(maps.Keys(has)), slices.Sorted(maps.Keys(want)))
	}
}

// checkPolicy checks that the ProxyConfig reports all nodes as programmed.
func (s calmed) checkPolicy() {
	var config v1alpha1.ProxyConfig
	s.must(s.server.Get(proxyConfigs, "default").Decode(&config))
	want := v1alpha1.NodeCounts{Selected: nodeCount, Programmed: nodeCount}
	if config.Status.Nodes == nil || *config.Status.Nodes != want {
		s.fail("calm: the ProxyConfig reports %+v", config.Status)
	}
}

// writes counts what clients of this project have written, by resource.
type writes struct {
	mu    sync.Mutex
	count map[string]int
}

func newWrites() *writes { return &writes{count: map[string]int{}} }

func (w *writes) add(resource string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count[resource]++
}

func (w *writes) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.count)
}

// checkWrites checks that only heartbeats, and counts in statuses, were written in the quiet time.
func (s calmed) checkWrites() {
	s.writes.mu.Lock()
	defer s.writes.mu.Unlock()
	for resource, most := range map[string]int{ruleSlices: 0, ruleSets: nodeCount, proxyConfigs: 1, revisions: 0, heartbeats: 6 * nodeCount} {
		if n := s.writes.count[resource]; n > most {
			s.fail("calm: %d writes of %s in a quiet minute", n, resource)
		}
	}
}
