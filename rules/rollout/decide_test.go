// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const (
	older = "default-1"
	newer = "default-2"
	tick  = 5 * time.Second

	// patience is how long kube-proxy may take.
	patience = time.Minute
)

// fate is what a node does with a revision.
type fate int

const (
	verifies    fate = iota
	reverts          // it undoes it, or cannot program it
	hangs            // it never answers
	sickens          // it verifies it, and has a problem later
	waits            // it verifies it, and then waits for kube-proxy, which goes or comes
	waitsInVain      // it does not
)

// machine is a simulated node: its agent, and what happens to it.
type machine struct {
	Member
	fate  map[string]fate
	delay time.Duration    // until it verifies what it is given
	proxy time.Duration    // and until kube-proxy has gone or come then
	away  [2]time.Duration // when it is not ready, since the start
}

// cluster is a simulated API with one rollout.
type cluster struct {
	t        *testing.T
	start    time.Time
	rollout  Rollout
	machines []*machine
	touched  map[string]bool // nodes that have got the new revision
	active   bool            // nodes get the revision, or verify it
	calm     bool            // nothing happens to nodes but by the rollout
}

// pass has the agents act.
func (c *cluster) pass() {
	c.rollout.Now = c.rollout.Now.Add(tick)
	now := c.rollout.Now
	for _, m := range c.machines {
		since := now.Sub(c.start)
		m.Ready = since < m.away[0] || since >= m.away[1]
		if m.AwaySince = (time.Time{}); !m.Ready {
			m.AwaySince = c.start.Add(m.away[0])
		}
		if !m.Ready || m.Assigned == "" {
			continue
		}
		age := now.Sub(m.AssignedAt)
		fate := m.fate[m.Assigned]
		switch {
		case fate == hangs || age < m.delay:
		case fate == reverts:
			m.Reverted = true
		case fate == sickens && age > m.delay+40*time.Second:
			if m.TroubledSince.IsZero() {
				m.TroubledSince = now
			}
		case m.VerifiedAt.IsZero():
			if m.VerifiedAt, m.TroubledSince = now, (time.Time{}); fate == waits || fate == waitsInVain {
				m.TroubledSince = now.Add(patience)
			}
		case fate == waits && !m.TroubledSince.IsZero() && age > m.delay+m.proxy:
			m.VerifiedAt, m.TroubledSince = now, time.Time{}
		}
	}
}

// members returns what the API says, in any order.
func (c *cluster) members(random *rand.Rand) []Member {
	out := make([]Member, 0, len(c.machines))
	for _, m := range c.machines {
		out = append(out, m.Member)
	}
	random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// assign writes a NodeRuleSet.
func (c *cluster) assign(m *machine, revision string) {
	if revision == newer {
		c.touched[m.Name] = true
	}
	m.Assigned, m.AssignedAt, m.Reverted = revision, c.rollout.Now, false
	m.VerifiedAt, m.TroubledSince = time.Time{}, time.Time{}
}

// step has a controller decide and write; it may die before each write.
func (c *cluster) step(random *rand.Rand, dies bool) Decision {
	for _, m := range c.machines {
		if m.Assigned == "" { // the controller of NodeRuleSets does that
			c.assign(m, older)
		}
	}
	c.rollout.Members = c.members(random)
	d := Decide(c.rollout)
	c.rollout.Members = c.members(random)
	if diff := cmp.Diff(d, Decide(c.rollout)); diff != "" {
		c.t.Fatalf("another controller decides otherwise:\n%s", diff)
	}
	c.check(d)
	if dies && random.IntN(4) == 0 {
		return d
	}
	c.rollout.Verdict = d.Verdict
	active := d.Phase == v1alpha1.RolloutUpdating || d.Phase == v1alpha1.RolloutVerifying
	if active != c.active {
		c.active, c.rollout.ActiveSince = active, c.rollout.Now
	}
	for _, m := range c.machines {
		if dies && random.IntN(8) == 0 {
			return d
		}
		if revision := d.Assign[m.Name]; revision != "" {
			c.assign(m, revision)
		}
	}
	return d
}

// check checks what a decision would do to nodes that work.
func (c *cluster) check(d Decision) {
	allowed, unavailable, good := c.rollout.Strategy.MaxUnavailable, 0, 0
	for _, s := range c.rollout.Strategy.Stages {
		if s.Name == d.Stage || d.Verdict != "" {
			allowed = min(allowed, s.MaxUnavailable)
			if d.Verdict == "" {
				allowed = s.MaxUnavailable
			}
		}
	}
	for _, m := range c.machines {
		next := d.Assign[m.Name]
		works := m.Ready && m.Assigned != "" && m.good()
		lost := d.Verdict != "" && m.Assigned == older && c.rollout.Now.Sub(m.AssignedAt) >= c.rollout.Strategy.NodeDeadline+grace
		switch {
		case next == m.Assigned && next != "":
			c.t.Fatalf("%s gets what it has", m.Name)
		case works && next != "":
			good++
			unavailable++
		case m.Ready && m.Assigned != "" && !works && !lost:
			unavailable++
		}
		if !m.Ready && next == newer && d.Verdict == "" && m.Assigned != "" {
			c.t.Fatalf("%s is not ready, and gets the new revision", m.Name)
		}
	}
	if d.Verdict != v1alpha1.VerdictSucceeded && good > 0 && unavailable > allowed {
		c.t.Fatalf("phase %s: %d nodes that work change, %d are unavailable then, more than %d", d.Phase, good, unavailable, allowed)
	}
	// Nodes that have failed in an earlier stage, which allowed more, stay failed.
	most := c.rollout.Strategy.MaxUnavailable
	for _, s := range c.rollout.Strategy.Stages {
		most = max(most, s.MaxUnavailable)
	}
	if c.calm && d.Verdict != v1alpha1.VerdictSucceeded && unavailable > most {
		c.t.Fatalf("phase %s: %d nodes change or have failed, more than %d", d.Phase, unavailable, most)
	}
}

// newCluster returns a random cluster and strategy. Bad is how many of 10 nodes do not verify
// the new revision.
func newCluster(t *testing.T, random *rand.Rand, bad int, calm bool) *cluster {
	start := time.Unix(1_700_000_000, 0)
	n := 1 + random.IntN(12)
	s := Strategy{MaxUnavailable: 1 + random.IntN(3), FailureThreshold: 1 + random.IntN(3),
		NodeDeadline: time.Minute, ProgressDeadline: 10 * time.Minute}
	c := &cluster{t: t, start: start, calm: calm, touched: map[string]bool{}}
	takesOver := random.IntN(2) == 0 // or gives back
	for i := range n {
		m := &machine{Member: Member{Name: fmt.Sprintf("node-%02d", i), Ready: true, Assigned: older, AssignedAt: start.Add(-time.Hour),
			VerifiedAt: start.Add(-time.Hour)}, delay: time.Duration(random.IntN(8)) * tick,
			fate: map[string]fate{newer: verifies, older: verifies}}
		if random.IntN(10) < bad {
			m.fate[newer] = []fate{reverts, hangs, sickens, waitsInVain}[random.IntN(4)]
		} else if takesOver {
			m.fate[newer], m.proxy = waits, time.Duration(random.IntN(20))*tick
		}
		if !calm {
			if random.IntN(6) == 0 {
				m.away = [2]time.Duration{time.Duration(random.IntN(600)) * time.Second, time.Duration(random.IntN(2000)) * time.Second}
			}
			if random.IntN(8) == 0 {
				m.fate[older] = hangs
			}
			if random.IntN(10) == 0 {
				m.TroubledSince = start.Add(-time.Minute)
			}
			if random.IntN(10) == 0 {
				m.Member = Member{Name: m.Name, Ready: true} // it is new
			}
		}
		if calm && m.fate[newer] == sickens {
			m.fate[newer] = hangs
		}
		c.machines = append(c.machines, m)
	}
	for i := range random.IntN(4) {
		stage := Stage{Name: fmt.Sprintf("stage-%d", i), Nodes: random.IntN(n + 1), MaxUnavailable: 1 + random.IntN(3),
			Soak: time.Duration(random.IntN(12)) * tick, Approval: random.IntN(4) == 0}
		if random.IntN(3) == 0 {
			stage.Of = map[string]bool{}
			for _, m := range c.machines {
				stage.Of[m.Name] = random.IntN(2) == 0
			}
		}
		s.Stages = append(s.Stages, stage)
	}
	c.rollout = Rollout{From: older, To: newer, Strategy: s, Approved: map[string]bool{}, Now: start, Since: start}
	return c
}

// people approve, pause, go on, and may undo.
func (c *cluster) people(random *rand.Rand, d Decision) {
	if d.Phase == v1alpha1.RolloutAwaitingApproval && random.IntN(5) == 0 {
		c.rollout.Approved[d.Stage] = true
	}
	switch random.IntN(200) {
	case 0:
		c.rollout.Order = Pause
	case 1:
		c.rollout.Order = Abort
	case 2:
		c.rollout.Order = Promote
	case 3, 4, 5, 6, 7, 8:
		c.rollout.Order = Run
	}
}

// run passes the time until the rollout has ended.
func (c *cluster) run(random *rand.Rand, disturbed bool) Decision {
	var d Decision
	for range 5000 {
		c.pass()
		if disturbed && random.IntN(3) == 0 {
			continue // no controller runs
		}
		d = c.step(random, disturbed)
		if c.rollout.Verdict == d.Verdict && len(d.Assign) == 0 && slices.Contains([]v1alpha1.RolloutPhase{v1alpha1.RolloutSucceeded, v1alpha1.RolloutRolledBack}, d.Phase) {
			return d
		}
		if disturbed {
			c.people(random, d)
		} else if d.Phase == v1alpha1.RolloutAwaitingApproval {
			c.rollout.Approved[d.Stage] = true
		}
	}
	c.t.Fatalf("it does not end: %+v\n%+v", d, c.rollout)
	return d
}

// TestRolloutsAtRandom checks of random rollouts, with nodes that fail, are away and come back, and
// controllers that die at any write: no more nodes that work change than may be
// unavailable, and each rollout ends.
func TestRolloutsAtRandom(t *testing.T) {
	for seed := range uint64(1000) {
		random := rand.New(rand.NewPCG(seed, 1))
		c := newCluster(t, random, random.IntN(4), false)
		d := c.run(random, true)
		for _, m := range c.machines {
			if d.Phase == v1alpha1.RolloutSucceeded && m.Assigned != newer || d.Phase == v1alpha1.RolloutRolledBack && m.Assigned == newer {
				t.Fatalf("seed %d: %s, and %s has %s", seed, d.Phase, m.Name, m.Assigned)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestCalmRollouts checks of rollouts where nothing else happens that at no moment more nodes change
// or have failed than may be unavailable, that nodes that all work get the revision, and that
// a rollout fails only if nodes do.
func TestCalmRollouts(t *testing.T) {
	for seed := range uint64(1000) {
		random := rand.New(rand.NewPCG(seed, 2))
		c := newCluster(t, random, int(seed%3), true)
		d := c.run(random, false)
		bad := 0
		for _, m := range c.machines {
			if m.fate[newer] != verifies && m.fate[newer] != waits && c.touched[m.Name] {
				bad++
			}
			if d.Phase == v1alpha1.RolloutRolledBack && (m.Assigned != older || !m.good()) {
				t.Fatalf("seed %d: %s is not back: %+v", seed, m.Name, m.Member)
			}
		}
		if (d.Verdict == v1alpha1.VerdictFailed) && bad == 0 || d.Verdict == v1alpha1.VerdictSucceeded && bad >= c.rollout.Strategy.FailureThreshold {
			t.Fatalf("seed %d: %s with %d nodes that do not verify", seed, d.Verdict, bad)
		}
	}
}

// TestOnlyTheCanaryChanges checks that a revision that no node takes reaches one node.
func TestOnlyTheCanaryChanges(t *testing.T) {
	for _, f := range []fate{reverts, hangs, sickens, waitsInVain} {
		random := rand.New(rand.NewPCG(1, uint64(f)))
		c := newCluster(t, random, 0, true)
		for i := range 6 {
			name := fmt.Sprintf("node-9%d", i)
			c.machines = append(c.machines, &machine{Member: Member{Name: name, Ready: true, Assigned: older, VerifiedAt: c.start}})
		}
		for _, m := range c.machines {
			m.fate = map[string]fate{newer: f, older: verifies}
		}
		c.rollout.Strategy.FailureThreshold = 1
		c.rollout.Strategy.Stages = []Stage{{Name: "canary", Nodes: 1, MaxUnavailable: 1, Soak: 2 * time.Minute}}
		d := c.run(random, false)
		if d.Phase != v1alpha1.RolloutRolledBack || len(c.touched) != 1 {
			t.Errorf("fate %d: %s, %d nodes have had it", f, d.Phase, len(c.touched))
		}
	}
}
