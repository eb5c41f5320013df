// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

const (
	// maxPending is how many changes may wait until all nodes have them; more are not measured.
	maxPending = 1 << 16

	// silence is how long an agent may not report before its node does not count.
	silence = time.Minute

	// reportInterval is how long an agent may take to report changed rules.
	reportInterval = 65 * time.Second
)

// convergence says when all nodes have a change of the ServiceRuleSlices. A node reports the digest
// of all slices that it has programmed. Agents and controller see the slices change in the same
// order, so a digest says up to which change a node is. Nothing is read or written for it.
type convergence struct {
	clock    clock.PassiveClock
	observed func(time.Duration) // called with the lock

	mu     sync.Mutex
	slices map[string]uint64 // the digests of those that nodes use
	sum    uint64            // XOR of them

	// changes are those that not all nodes have, after the last one that all have: changes[0] has
	// the number first.
	changes []change
	first   int
	numbers map[uint64]int // the newest of them with a digest

	nodes map[string]*node
}

// change is a change of the slices.
type change struct {
	sum      uint64
	began    time.Time // zero: it is not measured
	seen     time.Time
	repeated bool // an earlier one of those that wait has the same digest
}

// node is what is known of a node.
type node struct {
	selected bool // a policy selects it
	sum      uint64
	reported time.Time // when it first reported it; zero: it has not reported any
	renewed  time.Time // the last heartbeat
	reached  int       // the number of the newest change that it has
}

func newConvergence(c clock.PassiveClock, observed func(time.Duration)) *convergence {
	return &convergence{clock: c, observed: observed, slices: map[string]uint64{},
		changes: []change{{}}, numbers: map[uint64]int{0: 0}, nodes: map[string]*node{}}
}

// setSlice notes a slice as it is in the API. before is what the API had before; nil: unknown. Agents do
// not use slices that are obsolete, and ignore what the controller has not written.
func (c *convergence) setSlice(before, now *v1alpha1.ServiceRuleSlice, initial bool) {
	if model.CheckOrigin(now) != nil {
		return
	}
	began := c.clock.Now()
	if t := model.Trigger(now); !t.IsZero() && t.Before(began) && (before == nil || !t.Equal(model.Trigger(before))) {
		began = t
	}
	if initial {
		began = time.Time{}
	}
	if model.IsObsolete(now) {
		c.deleteSlice(now.Name, began)
		return
	}
	digest := model.DigestNumber(now.Spec.Digest)
	c.mu.Lock()
	defer c.mu.Unlock()
	old, known := c.slices[now.Name]
	c.slices[now.Name] = digest
	if !known || old != digest {
		c.changed(c.sum^old^digest, began)
	}
}

// deleteSlice notes that a slice is gone.
func (c *convergence) deleteSlice(name string, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, known := c.slices[name]; known {
		delete(c.slices, name)
		c.changed(c.sum^old, began)
	}
}

// changed adds a change.
func (c *convergence) changed(sum uint64, began time.Time) {
	c.sum = sum
	if len(c.changes) == maxPending {
		c.drop(1)
	}
	_, repeated := c.numbers[sum]
	c.changes = append(c.changes, change{sum: sum, began: began, seen: c.clock.Now(), repeated: repeated})
	c.numbers[sum] = c.last()
}

func (c *convergence) last() int { return c.first + len(c.changes) - 1 }

// drop forgets the oldest n changes.
func (c *convergence) drop(n int) {
	for i, ch := range c.changes[:n] {
		if c.numbers[ch.sum] == c.first+i {
			delete(c.numbers, ch.sum)
		}
	}
	c.changes, c.first = c.changes[n:], c.first+n // append moves the rest from time to time
}

// setNode notes what a node reports.
func (c *convergence) setNode(set *v1alpha1.NodeRuleSet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.node(set.Name)
	n.selected = set.Spec.CleanUpSince == nil
	if digest := model.DigestNumber(set.Status.RulesDigest); set.Status.RulesDigest != "" && (n.reported.IsZero() || digest != n.sum) {
		n.sum, n.reported = digest, c.clock.Now()
	}
}

func (c *convergence) deleteNode(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.nodes, name)
}

// renewed notes a heartbeat of a node's agent. The first one that is seen may be old.
func (c *convergence) renewed(beat *v1alpha1.NodeHeartbeat, initial bool) {
	at := c.clock.Now()
	if initial && beat.Spec.RenewTime.Time.Before(at) {
		at = beat.Spec.RenewTime.Time
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node(beat.Name).renewed = at
}

func (c *convergence) node(name string) *node {
	if c.nodes[name] == nil {
		c.nodes[name] = &node{reached: -1}
	}
	return c.nodes[name]
}

// evaluate finds the changes that all nodes have by now. Nodes count whose agents live and have
// reported once.
func (c *convergence) evaluate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, reached := c.clock.Now(), c.last()
	if reached == c.first {
		return
	}
	for _, n := range c.nodes {
		if n.selected && !n.reported.IsZero() && now.Sub(n.renewed) < silence {
			reached = min(reached, c.reachedBy(n, now))
		}
	}
	if reached <= c.first {
		return
	}
	for _, ch := range c.changes[1 : reached-c.first+1] {
		if !ch.began.IsZero() {
			c.observed(now.Sub(ch.began))
		}
	}
	c.drop(reached - c.first)
}

// reachedBy returns the number of the newest change that a node has. A digest that was there
// before counts only when the node would have reported another one since.
func (c *convergence) reachedBy(n *node, now time.Time) int {
	number, known := c.numbers[n.sum]
	if !known {
		return n.reached
	}
	ch := c.changes[number-c.first]
	if ch.repeated && n.reported.Before(ch.seen) && now.Sub(ch.seen) < reportInterval {
		return n.reached
	}
	n.reached = max(n.reached, number)
	return n.reached
}

// pending returns how long the oldest change waits that not all nodes have; 0: all have all.
func (c *convergence) pending() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range c.changes[1:] {
		if !ch.began.IsZero() {
			return max(0, c.clock.Now().Sub(ch.began))
		}
	}
	return 0
}
