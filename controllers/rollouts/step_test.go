// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// nodesFake says what is wrong with revisions, and notes what nodes are given.
type nodesFake struct {
	problem, err error
	assigned     []string
}

func (f *nodesFake) Usable(_ context.Context, _ *v1alpha1.ProxyConfig, revision string) (problem, err error) {
	if revision != "before" {
		return errors.New("asked about " + revision), nil
	}
	return f.problem, f.err
}

func (f *nodesFake) Assign(_ context.Context, node *corev1.Node, config *v1alpha1.ProxyConfig, current *v1alpha1.NodeRuleSet, revision string, since metav1.Time) error {
	if f.err != nil {
		return f.err
	}
	f.assigned = append(f.assigned, fmt.Sprintf("%s of %s: %s to %s at %d", node.Name, config.Name, current.Spec.Revision, revision, since.Unix()-now.Unix()))
	return nil
}

// staged is a ProxyConfig with one stage of one node and then the rest, and the name of its revision.
func staged() (config *v1alpha1.ProxyConfig, target string) {
	config = &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "uid"}, Status: v1alpha1.ProxyConfigStatus{StableRevision: "before"}}
	config.Spec.Rollout = v1alpha1.RolloutOptions{Strategy: v1alpha1.Staged, Stages: []v1alpha1.RolloutStage{
		{Name: "one", Nodes: ptr.To(intstr.FromInt32(1)), SoakSeconds: ptr.To(int32(60)), Approval: v1alpha1.ApprovalRequired}}}
	return config, rollout.RevisionOf(config).Name
}

// world is a state with two nodes that have the revision before.
func world() (s *state, target string) {
	config, target := staged()
	s = &state{config: config, nodes: map[string]*corev1.Node{}, sets: map[string]*v1alpha1.NodeRuleSet{}, now: now}
	for _, name := range []string{"a", "b"} {
		s.nodes[name] = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		s.sets[name] = &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1}, Spec: v1alpha1.NodeRuleSetSpec{Revision: "before"}}
		s.members = append(s.members, rollout.Member{Name: name, Ready: true, Assigned: "before", AssignedAt: ago(1000).Time, VerifiedAt: ago(900).Time})
	}
	return s, target
}

// give gives a node a revision, seconds ago, that it has verified since; 0: it has not.
func (s *state) give(i int, revision string, assigned, verified int) {
	m := &s.members[i]
	m.Assigned, m.AssignedAt, m.VerifiedAt = revision, ago(assigned).Time, time.Time{}
	if verified > 0 {
		m.VerifiedAt = ago(verified).Time
	}
}

// run adds a rollout that runs.
func (s *state) run(name string, change func(*v1alpha1.ProxyRollout)) {
	o := &v1alpha1.ProxyRollout{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 3}}
	o.Status = v1alpha1.ProxyRolloutStatus{ObservedGeneration: 3, Config: "default", Phase: v1alpha1.RolloutUpdating, FromRevision: "before", ToRevision: name,
		Strategy: s.config.Spec.Rollout.DeepCopy(), StartTime: ago(500),
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionPrechecked, Status: metav1.ConditionTrue, Reason: "Fits", LastTransitionTime: *ago(500)}}}
	if change != nil {
		change(o)
	}
	s.rollouts = append(s.rollouts, o)
}

// supersededBefore is how a rollout is that another one has followed.
func supersededBefore(o *v1alpha1.ProxyRollout) {
	apimeta.SetStatusCondition(&o.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionSuperseded, Status: metav1.ConditionTrue, Reason: "NewRevision"})
}

func verdict(v v1alpha1.RolloutVerdict) func(*v1alpha1.ProxyRollout) {
	return func(o *v1alpha1.ProxyRollout) { o.Status.Verdict, o.Status.Phase = v, v1alpha1.RolloutPhase(v) }
}

// text says what a step does. The target is called new.
func (n step) text(target string) []string {
	var out []string
	add := func(format string, args ...any) {
		out = append(out, strings.ReplaceAll(fmt.Sprintf(format, args...), target, "new"))
	}
	for _, o := range n.remove {
		add("remove %s", o.Name)
	}
	if n.create != "" {
		add("create %s", n.create)
	}
	for _, u := range n.status {
		text := fmt.Sprintf("%s is %s", u.rollout.Name, u.status.Phase)
		if u.status.Stage != "" {
			text += " at " + u.status.Stage
		}
		if u.status.Verdict != "" {
			text += ", " + string(u.status.Verdict)
		}
		if isSuperseded(&v1alpha1.ProxyRollout{Status: u.status}) {
			text += ", superseded"
		}
		add("%s", text)
	}
	for _, name := range slices.Sorted(maps.Keys(n.assign)) {
		add("%s gets %s", name, n.assign[name])
	}
	if n.again > 0 {
		add("again after %s", n.again)
	}
	return out
}

// order is a rollout with an order of a person.
func order(state v1alpha1.RolloutState, change ...func(*v1alpha1.ProxyRollout)) func(*v1alpha1.ProxyRollout) {
	return func(o *v1alpha1.ProxyRollout) {
		o.Spec.State = state
		for _, c := range change {
			c(o)
		}
	}
}

// newer is a rollout whose spec was changed since its status.
func newer(o *v1alpha1.ProxyRollout) { o.Generation = 4 }

// unchecked is one before the check of its nodes.
func unchecked(o *v1alpha1.ProxyRollout) { o.Status.Conditions = nil }

// unfit has a policy that a node cannot run.
func unfit(s *state) {
	s.config.Spec.Mode = v1alpha1.ModeIPVS
	s.sets["b"].Status.Capabilities = []v1alpha1.ModeCapability{{Mode: v1alpha1.ModeIPVS, Message: "no ip_vs"}}
}

type nextCase struct {
	do    func(s *state, target string)
	nodes nodesFake
	want  []string
	fails bool
}

var nextCases = map[string]nextCase{
	"all have it":                 {do: func(s *state, target string) { s.give(0, target, 9, 8); s.give(1, target, 9, 8) }},
	"no node has a revision":      {do: func(s *state, _ string) { s.members = nil }},
	"a new revision":              {do: func(*state, string) {}, want: []string{"create new", "again after 1s"}},
	"one node has not got it yet": {do: func(s *state, target string) { s.give(0, target, 9, 8) }, want: []string{"create new", "again after 1s"}},
	"at once":                     {do: func(s *state, _ string) { s.config.Spec.Rollout.Strategy = v1alpha1.AllAtOnce }},
	"at once, while one runs": {do: func(s *state, target string) { s.config.Spec.Rollout.Strategy = v1alpha1.AllAtOnce; s.run(target, nil) },
		want: []string{"new is Superseded, superseded"}},
	"it begins": {do: func(s *state, target string) {
		s.run(target, func(o *v1alpha1.ProxyRollout) { o.Status = v1alpha1.ProxyRolloutStatus{} })
	}, want: []string{"new is Pending", "again after 1s"}},
	"the first node gets it":   {do: func(s *state, target string) { s.run(target, nil) }, want: []string{"new is Updating at one", "a gets new", "again after 1s"}},
	"it is checked first":      {do: func(s *state, target string) { s.run(target, unchecked) }, want: []string{"new is Updating at one", "a gets new", "again after 1s"}},
	"a node cannot run it":     {do: func(s *state, _ string) { unfit(s); s.run(rollout.RevisionOf(s.config).Name, unchecked) }, want: []string{"ipvs is Blocked", "again after 15s"}},
	"it was checked before":    {do: func(s *state, _ string) { unfit(s); s.run(rollout.RevisionOf(s.config).Name, nil) }, want: []string{"ipvs is Updating at one", "a gets ipvs", "again after 1s"}},
	"there is no way back":     {do: func(s *state, target string) { s.run(target, unchecked) }, nodes: nodesFake{problem: errors.New("gone")}, want: []string{"new is Blocked", "again after 15s"}},
	"that cannot be found out": {do: func(s *state, target string) { s.run(target, unchecked) }, nodes: nodesFake{err: errors.New("away")}, fails: true},
	"no way back, and aborted": {do: func(s *state, target string) { s.run(target, order(v1alpha1.StateAbort, unchecked)) }, nodes: nodesFake{problem: errors.New("gone")},
		want: []string{"new is RolledBack, Aborted", "again after 15s"}},
	"it verifies": {do: func(s *state, target string) { s.give(0, target, 9, 0); s.run(target, nil) }, want: []string{"new is Verifying at one", "again after 1s"}},
	"it soaks":    {do: func(s *state, target string) { s.give(0, target, 9, 8); s.run(target, nil) }, want: []string{"new is Soaking at one", "again after 1s"}},
	"it waits": {do: func(s *state, target string) { s.give(0, target, 90, 80); s.run(target, nil) },
		want: []string{"new is AwaitingApproval at one", "again after 15s"}},
	"it is approved": {do: func(s *state, target string) {
		s.give(0, target, 90, 80)
		s.run(target, func(o *v1alpha1.ProxyRollout) { o.Spec.ApprovedStages = []string{"one"} })
	}, want: []string{"new is Updating at rest", "b gets new", "again after 1s"}},
	"another is approved": {do: func(s *state, target string) {
		s.give(0, target, 90, 80)
		s.run(target, func(o *v1alpha1.ProxyRollout) { o.Spec.ApprovedStages = []string{"two"} })
	}, want: []string{"new is AwaitingApproval at one", "again after 15s"}},
	"it is promoted": {do: func(s *state, target string) { s.give(0, target, 9, 8); s.run(target, order(v1alpha1.StatePromote)) },
		want: []string{"new is Updating at rest", "b gets new", "again after 1s"}},
	"a person pauses it": {do: func(s *state, target string) { s.run(target, order(v1alpha1.StatePause)) }, want: []string{"new is Paused at one", "again after 15s"}},
	"the policy pauses it": {do: func(s *state, target string) { s.run(target, nil); s.config.Spec.Rollout.Paused = ptr.To(true) },
		want: []string{"new is Paused at one", "again after 15s"}},
	"it succeeds": {do: func(s *state, target string) {
		s.give(0, target, 90, 80)
		s.give(1, target, 90, 80)
		s.run(target, order(v1alpha1.StatePromote))
	},
		want: []string{"new is Succeeded, Succeeded", "again after 15s"}},
	"a node fails": {do: func(s *state, target string) { s.give(0, target, 90, 0); s.run(target, nil) },
		want: []string{"new is RollingBack, Failed", "a gets before", "again after 1s"}},
	"it is aborted": {do: func(s *state, target string) { s.give(0, target, 9, 8); s.run(target, order(v1alpha1.StateAbort)) },
		want: []string{"new is RollingBack, Aborted", "a gets before", "again after 1s"}},
	"it was undone": {do: func(s *state, target string) { s.run(target, verdict(v1alpha1.VerdictFailed)) },
		want: []string{"new is RolledBack, Failed", "again after 15s"}},
	"it is tried again": {do: func(s *state, target string) {
		s.run(target, order(v1alpha1.StateRetry, verdict(v1alpha1.VerdictFailed), newer))
	}, want: []string{"new is Updating at one", "a gets new", "again after 1s"}},
	"aborted, and tried again": {do: func(s *state, target string) {
		s.run(target, order(v1alpha1.StateRetry, verdict(v1alpha1.VerdictAborted), newer))
	}, want: []string{"new is Updating at one", "a gets new", "again after 1s"}},
	"it was tried again": {do: func(s *state, target string) {
		s.run(target, order(v1alpha1.StateRetry, verdict(v1alpha1.VerdictFailed)))
	},
		want: []string{"new is RolledBack, Failed", "again after 15s"}},
	"it has succeeded, and is tried again": {do: func(s *state, target string) {
		s.give(0, target, 90, 80)
		s.give(1, target, 90, 80)
		s.run(target, order(v1alpha1.StateRetry, verdict(v1alpha1.VerdictSucceeded), newer))
	}, want: []string{"new is Succeeded, Succeeded", "again after 15s"}},
	"another one runs": {do: func(s *state, target string) { s.run(target, nil); s.run("other", nil) },
		want: []string{"other is Superseded, superseded", "new is Updating at one", "a gets new", "again after 1s"}},
	"another one has ended": {do: func(s *state, target string) { s.run(target, nil); s.run("other", verdict(v1alpha1.VerdictFailed)) },
		want: []string{"other is Failed, Failed, superseded", "new is Updating at one", "a gets new", "again after 1s"}},
	"another one was superseded": {do: func(s *state, target string) { s.run(target, nil); s.run("other", supersededBefore) },
		want: []string{"new is Updating at one", "a gets new", "again after 1s"}},
	"all have it without a rollout": {do: func(s *state, target string) { s.give(0, target, 9, 8); s.give(1, target, 9, 8); s.run("other", nil) },
		want: []string{"other is Superseded, superseded"}},
	"the policy comes back": {do: func(s *state, target string) { s.run(target, supersededBefore) }, want: []string{"remove new", "again after 1s"}},
	"older ones are removed": {do: func(s *state, target string) {
		s.config.Spec.RevisionHistoryLimit = ptr.To(int32(2))
		s.run("running", nil)
		for i := range 4 {
			s.run(fmt.Sprint("old-", i), supersededBefore)
		}
		s.give(0, target, 9, 8)
		s.give(1, target, 9, 8)
	}, want: []string{"remove old-2", "remove old-3", "running is Superseded, superseded"}},
	"ten are kept": {do: func(s *state, target string) {
		for i := range 11 {
			s.run(fmt.Sprintf("old-%02d", i), supersededBefore)
		}
		s.give(0, target, 9, 8)
		s.give(1, target, 9, 8)
	}, want: []string{"remove old-10"}},
	"a selector that cannot be": {do: func(s *state, target string) {
		s.run(target, func(o *v1alpha1.ProxyRollout) {
			o.Status.Strategy.Stages[0].NodeSelector = &v1alpha1.NodeSelector{MatchExpressions: []v1alpha1.NodeSelectorRequirement{{Key: "a", Operator: "Near"}}}
		})
	}, fails: true},
}

// TestNext checks what a state leads to.
func TestNext(t *testing.T) {
	for name, c := range nextCases {
		t.Run(name, func(t *testing.T) {
			s, target := world()
			c.do(s, target)
			r := &Reconciler{Nodes: &c.nodes}
			n, err := r.next(t.Context(), s)
			if (err != nil) != c.fails {
				t.Fatalf("error %v", err)
			}
			if c.fails {
				return
			}
			got := n.text(target)
			if now := rollout.RevisionOf(s.config).Name; now != target {
				for i := range got {
					got[i] = strings.ReplaceAll(got[i], now, "ipvs")
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestBegin checks the first status: where the rollout leads from and to, with the strategy of that moment.
func TestBegin(t *testing.T) {
	s, target := world()
	s.run(target, func(o *v1alpha1.ProxyRollout) { o.Status = v1alpha1.ProxyRolloutStatus{} })
	got := s.begin(s.rollouts[0], nil)
	want := v1alpha1.ProxyRolloutStatus{ObservedGeneration: 3, Config: "default", Phase: v1alpha1.RolloutPending, FromRevision: "before", ToRevision: target,
		Strategy: &s.config.Spec.Rollout, StartTime: ago(0), Conditions: []metav1.Condition{{Type: v1alpha1.ConditionPrechecked, Status: metav1.ConditionUnknown,
			Reason: "Pending", Message: "The nodes have not been checked yet", ObservedGeneration: 3, LastTransitionTime: *ago(0)}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, c := range map[string]struct {
		previous func(*v1alpha1.ProxyRollout)
		stable   string
		from     string
	}{
		"after one that succeeded":    {verdict(v1alpha1.VerdictSucceeded), "", "many"},
		"after one that was undone":   {verdict(v1alpha1.VerdictFailed), "before", "older"},
		"after one that runs":         {nil, "before", "older"},
		"after one that was replaced": {supersededBefore, "before", "before"},
		"after one that did not run":  {func(o *v1alpha1.ProxyRollout) { o.Status.ToRevision = "" }, "before", "before"},
		"what most nodes have":        {supersededBefore, "", "many"},
	} {
		t.Run(name, func(t *testing.T) {
			s, target := world()
			s.config.Status.StableRevision = c.stable
			for _, node := range []string{"c", "d", "e"} {
				s.members = append(s.members, rollout.Member{Name: node, Assigned: "many"})
			}
			s.members = append(s.members, rollout.Member{}, rollout.Member{}, rollout.Member{}, rollout.Member{}) // they have none
			s.run("other", func(o *v1alpha1.ProxyRollout) {
				o.Status.FromRevision = "older"
				if c.previous != nil {
					c.previous(o)
				}
			})
			s.run(target, nil)
			if got := s.begin(s.rollouts[1], s.rollouts[:1]).FromRevision; got != c.from {
				t.Errorf("returns to %q, want %q", got, c.from)
			}
		})
	}
}
