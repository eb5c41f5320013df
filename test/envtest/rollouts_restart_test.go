// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// deadly has the processes of all controllers die before one of their writes, the k-th from now.
// They are started again for the next reconcile.
type deadly struct {
	left int // writes before it; negative: it is past
	dead bool
}

var errDied = errors.New("the process has died")

func (d *deadly) fail(string) error {
	if d.left--; d.left == -1 {
		d.dead = true
	}
	if d.dead {
		return errDied
	}
	return nil
}

// rollOut rolls out a new policy under a label until the rollout has ended, with a process that
// dies before its k-th write, and a cache that is behind by a round. It returns the phase in the
// end, and whether there were as many writes.
func (s *staging) rollOut(label string, k int) (v1alpha1.RolloutPhase, bool) {
	s.t.Helper()
	death := &deadly{left: k}
	s.view.fail = death.fail
	defer func() { s.view.fail, s.stale = nil, nil }()
	s.change(label, func(spec *v1alpha1.ProxyConfigSpec) { spec.SessionAffinity.TimeoutSeconds++ })
	quiet := 0
	for range 40 {
		s.stale, death.dead = nil, false
		next := &staging{t: s.t}
		next.remember()
		s.clock.Step(2 * time.Second)
		errs := s.reconcile()
		s.check()
		s.agents()
		s.stale = next.stale
		if errs = append(errs, s.reconcileAgain(death)...); len(errs) > 0 {
			quiet = 0
		}
		o := s.current()
		if o == nil || o.Status.Phase != v1alpha1.RolloutSucceeded && o.Status.Phase != v1alpha1.RolloutRolledBack {
			quiet = 0
			continue
		}
		if quiet++; quiet == 2 {
			return o.Status.Phase, death.left < 0
		}
	}
	s.t.Fatalf("death before write %d: the rollout does not end: %+v", k, s.current())
	return "", false
}

// reconcileAgain reconciles with what the cache had before the last round.
func (s *staging) reconcileAgain(death *deadly) []error {
	s.t.Helper()
	death.dead = false
	errs := s.reconcile()
	s.check()
	s.agents()
	return errs
}

// check checks that at most one node changes.
func (s *staging) check() {
	s.t.Helper()
	changing := 0
	for _, set := range s.sets() {
		r := set.Status.Revision
		if r == nil || r.Phase != v1alpha1.RevisionVerified || r.Name != set.Spec.Revision || !r.AssignedTime.Equal(set.Spec.AssignedTime) {
			changing++
		}
	}
	if changing > 1 {
		s.t.Fatalf("%d nodes change at once: %s", changing, s.nodesHave())
	}
}

// TestRolloutOfADyingController has the leader die before each of its writes, in all phases of a
// rollout that succeeds and of one that fails, while the cache is behind: no node is given a
// revision twice, and never more than one node changes.
func TestRolloutOfADyingController(t *testing.T) {
	for name, c := range map[string]struct {
		fate  map[string]fate
		phase v1alpha1.RolloutPhase
		want  map[string]int // how often each node is given the revision
	}{
		"it succeeds": {nil, v1alpha1.RolloutSucceeded, map[string]int{"a": 1, "b": 1}},
		"it fails":    {map[string]fate{"a": reverts}, v1alpha1.RolloutRolledBack, map[string]int{"a": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStaging(t, oneByOne(func(o *v1alpha1.RolloutOptions) { o.Stages[0].SoakSeconds = ptr.To[int32](2) }), "a", "b")
			for k := 0; ; k++ {
				label := fmt.Sprint(k + 2)
				s.fates[label] = c.fate
				phase, died := s.rollOut(label, k)
				if phase != c.phase {
					t.Fatalf("death before write %d: %s, want %s", k, phase, c.phase)
				}
				for _, node := range s.nodes {
					if got := s.given[node+"="+label]; got != c.want[node] {
						t.Fatalf("death before write %d: node %s was given the revision %d times, want %d", k, node, got, c.want[node])
					}
				}
				if !died {
					if k < 10 {
						t.Errorf("a rollout of %d writes", k)
					}
					return
				}
			}
		})
	}
}

// TestRolloutAndStaleNodeRuleSet has a node change while the cache misses what it was given.
func TestRolloutAndStaleNodeRuleSet(t *testing.T) {
	s := newStaging(t, oneByOne(), "a", "b")
	s.change("2", func(spec *v1alpha1.ProxyConfigSpec) { spec.SessionAffinity.TimeoutSeconds++ })
	s.passes(2)
	before := &staging{t: t}
	before.remember()
	s.passes(2)
	s.wants("Soaking canary", "a=2+ b=1+")
	n := node("a")
	if err := api.Get(t.Context(), objectKey("a"), n); err != nil {
		t.Fatal(err)
	}
	n.Labels["topology.kubernetes.io/zone"] = "z"
	update(t, n)
	s.stale = before.stale
	if errs := s.reconcile(); len(errs) == 0 {
		t.Error("what the node was given is overwritten")
	}
	s.wants("Soaking canary", "a=2+ b=1+")
	s.stale = nil
	s.pass(time.Second)
	s.wants("Soaking canary", "a=2+ b=1+")
	if got := ruleSet(t, "a").Spec.Node.Zone; got != "z" {
		t.Errorf("zone %s", got)
	}
	// A new node, which the cache misses, too.
	before.remember()
	before.stale.sets.Items = nil
	s.stale = before.stale
	s.reconcile()
	s.stale = nil
	s.wants("Soaking canary", "a=2+ b=1+")
}
