// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// TestConditions checks what each decision makes of the conditions.
func TestConditions(t *testing.T) {
	for name, c := range map[string]struct {
		decision rollout.Decision
		stage    string
		want     string // Progressing, Soaked, Succeeded, RolledBack
	}{
		"a stage":         {rollout.Decision{Phase: v1alpha1.RolloutUpdating, Stage: "one"}, "one", "True/Updating False/Updating Unknown/Updating False/Updating"},
		"it verifies":     {rollout.Decision{Phase: v1alpha1.RolloutVerifying, Stage: "one"}, "one", "True/Verifying False/Verifying Unknown/Verifying False/Verifying"},
		"it soaks":        {rollout.Decision{Phase: v1alpha1.RolloutSoaking, Stage: "one"}, "one", "False/Soaking False/Soaking Unknown/Soaking False/Soaking"},
		"the last stage":  {rollout.Decision{Phase: v1alpha1.RolloutUpdating}, "rest", "True/Updating True/Updating Unknown/Updating False/Updating"},
		"it has ended":    {rollout.Decision{Phase: v1alpha1.RolloutSucceeded, Verdict: v1alpha1.VerdictSucceeded}, "", "False/Succeeded True/Succeeded True/Succeeded False/Succeeded"},
		"it is undone":    {rollout.Decision{Phase: v1alpha1.RolloutRollingBack, Verdict: v1alpha1.VerdictFailed}, "", "False/RollingBack False/RollingBack False/Failed False/RollingBack"},
		"it was undone":   {rollout.Decision{Phase: v1alpha1.RolloutRolledBack, Verdict: v1alpha1.VerdictAborted}, "", "False/RolledBack False/RolledBack False/Aborted True/RolledBack"},
		"paused for good": {rollout.Decision{Phase: v1alpha1.RolloutPaused, Verdict: v1alpha1.VerdictFailed, Stage: "one"}, "", "False/Paused False/Paused False/Failed False/Paused"},
	} {
		t.Run(name, func(t *testing.T) {
			s, target := world()
			s.run(target, func(o *v1alpha1.ProxyRollout) { o.Generation = 5 })
			status := *s.rollouts[0].Status.DeepCopy()
			s.report(&status, s.rollouts[0], c.decision)
			var got []string
			for _, kind := range []string{v1alpha1.ConditionProgressing, v1alpha1.ConditionSoaked, v1alpha1.ConditionSucceeded, v1alpha1.ConditionRolledBack} {
				c := apimeta.FindStatusCondition(status.Conditions, kind)
				got = append(got, fmt.Sprintf("%s/%s", c.Status, c.Reason))
				if c.ObservedGeneration != 5 || c.Message == "" || !c.LastTransitionTime.Time.Equal(now) {
					t.Errorf("%+v", c)
				}
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if status.Stage != c.stage || status.Phase != c.decision.Phase || status.Verdict != c.decision.Verdict || status.ObservedGeneration != 5 {
				t.Errorf("%s at %q, %q of the generation %d", status.Phase, status.Stage, status.Verdict, status.ObservedGeneration)
			}
		})
	}
}

// TestTransitionTimes checks that a condition keeps its time while its status is the same.
func TestTransitionTimes(t *testing.T) {
	s, target := world()
	s.run(target, nil)
	status := v1alpha1.ProxyRolloutStatus{Conditions: []metav1.Condition{{Type: "A", Status: metav1.ConditionTrue, Reason: "R", LastTransitionTime: *ago(50)}}}
	for _, c := range []struct {
		is   metav1.ConditionStatus
		want time.Time
	}{{metav1.ConditionTrue, ago(50).Time}, {metav1.ConditionFalse, now}} {
		set(&status, s, s.rollouts[0], "A", c.is, "Other", "m")
		if got := status.Conditions[0]; !got.LastTransitionTime.Time.Equal(c.want) || got.Reason != "Other" || got.ObservedGeneration != 3 {
			t.Errorf("%s: %+v", c.is, got)
		}
	}
}

// TestStages checks the counts of the stages, and since when each runs.
func TestStages(t *testing.T) {
	s, _ := world()
	before := []v1alpha1.RolloutStageStatus{{Name: "one", StartTime: ago(90)}, {Name: "two"}}
	counts := []rollout.Counts{{Name: "one", Total: 4, Updated: 3, Verified: 2, Failed: 1}, {Name: "two", Total: 5}, {Total: 6}}
	for current, want := range map[string][3]*metav1.Time{"one": {ago(90), nil, nil}, "two": {ago(90), ago(0), nil}, lastStage: {ago(90), nil, ago(0)}} {
		all := []v1alpha1.RolloutStageStatus{
			{Name: "one", Total: 4, Updated: 3, Verified: 2, Failed: 1, StartTime: want[0]},
			{Name: "two", Total: 5, StartTime: want[1]}, {Name: lastStage, Total: 6, StartTime: want[2]}}
		if diff := cmp.Diff(all, s.stages(before, current, counts)); diff != "" {
			t.Errorf("at %s (-want +got):\n%s", current, diff)
		}
	}
}

// TestReportedNodes checks which nodes are named: those that failed it stay after its end.
func TestReportedNodes(t *testing.T) {
	many := make([]string, 0, 12)
	for i := range 12 {
		many = append(many, fmt.Sprintf("node-%02d", i))
	}
	for name, c := range map[string]struct {
		before   v1alpha1.ProxyRolloutStatus
		decision rollout.Decision
		failed   []string
		stages   int
	}{
		"none any more": {v1alpha1.ProxyRolloutStatus{FailedNodes: []v1alpha1.FailingNode{{Name: "b"}}}, rollout.Decision{Stages: make([]rollout.Counts, 2)}, nil, 2},
		"the same":      {v1alpha1.ProxyRolloutStatus{FailedNodes: []v1alpha1.FailingNode{{Name: "b"}}}, rollout.Decision{Failed: []string{"b"}}, []string{"b"}, 0},
		"after its end": {v1alpha1.ProxyRolloutStatus{Verdict: v1alpha1.VerdictFailed, FailedNodes: []v1alpha1.FailingNode{{Name: "b"}}, Stages: make([]v1alpha1.RolloutStageStatus, 3)},
			rollout.Decision{Phase: v1alpha1.RolloutRolledBack, Failed: []string{"a", "b"}, Stages: make([]rollout.Counts, 2)}, []string{"b", "a"}, 3},
		"many": {v1alpha1.ProxyRolloutStatus{}, rollout.Decision{Failed: many, Skipped: many, Lagging: many}, many[:10], 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, target := world()
			for _, name := range many {
				s.sets[name] = &v1alpha1.NodeRuleSet{}
				s.members = append(s.members, rollout.Member{Name: name, Ready: true})
			}
			s.run(target, nil)
			status := c.before
			s.report(&status, s.rollouts[0], c.decision)
			var got []string
			for _, n := range status.FailedNodes {
				got = append(got, n.Name)
			}
			if diff := cmp.Diff(c.failed, got); diff != "" || len(status.Stages) != c.stages {
				t.Errorf("%d stages, failed (-want +got):\n%s", len(status.Stages), diff)
			}
			if n := min(len(c.decision.Skipped), maxListed); len(status.SkippedNodes) != n || len(status.LaggingNodes) != n {
				t.Errorf("skipped %v, lagging %v", status.SkippedNodes, status.LaggingNodes)
			}
		})
	}
}

// TestFailed checks why a node has failed the revision.
func TestFailed(t *testing.T) {
	condition := []metav1.Condition{{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionFalse, Reason: "KernelError", Message: "no", ObservedGeneration: 1}}
	for name, c := range map[string]struct {
		change func(*rollout.Member, *v1alpha1.NodeRuleSetStatus)
		want   string
	}{
		"it says nothing": {func(*rollout.Member, *v1alpha1.NodeRuleSetStatus) {}, "NotVerified: The agent has not verified the revision in time"},
		"it has returned": {func(m *rollout.Member, s *v1alpha1.NodeRuleSetStatus) {
			m.Reverted, s.Revision, s.Conditions = true, &v1alpha1.RevisionStatus{Phase: v1alpha1.RevisionReverted, LastError: "trouble"}, condition
		}, "Reverted: trouble"},
		"it does not say why": {func(m *rollout.Member, s *v1alpha1.NodeRuleSetStatus) {
			m.Reverted, s.Revision = true, &v1alpha1.RevisionStatus{Phase: v1alpha1.RevisionFailed}
		}, "Failed: The agent does not say why"},
		"the node is not ready": {func(m *rollout.Member, s *v1alpha1.NodeRuleSetStatus) { m.Ready, s.Conditions = false, condition },
			"NodeNotReady: The node is not ready since it was given the revision"},
		"the kernel refuses": {func(m *rollout.Member, s *v1alpha1.NodeRuleSetStatus) {
			m.TroubledSince, s.Conditions = now, condition
		}, "KernelError: no"},
		"it is silent": {func(m *rollout.Member, _ *v1alpha1.NodeRuleSetStatus) { m.TroubledSince = now }, v1alpha1.ReasonAgentsNotReady + ": The agent does not report"},
		"kube-proxy stays": {func(m *rollout.Member, s *v1alpha1.NodeRuleSetStatus) {
			m.VerifiedAt, m.TroubledSince = now, now
			s.Conditions = []metav1.Condition{{Type: "KubeProxyReplaced", Status: metav1.ConditionFalse, Message: "kube-proxy runs"}}
		}, "KubeProxyFound: kube-proxy runs"},
		"it says nothing of kube-proxy": {func(m *rollout.Member, _ *v1alpha1.NodeRuleSetStatus) { m.VerifiedAt, m.TroubledSince = now, now },
			"KubeProxyFound: The agent does not say whether kube-proxy is gone"},
		"kube-proxy is gone, and it is silent": {func(m *rollout.Member, s *v1alpha1.NodeRuleSetStatus) {
			m.VerifiedAt, m.TroubledSince = now, now
			s.Conditions = []metav1.Condition{{Type: "KubeProxyReplaced", Status: metav1.ConditionTrue}}
		}, v1alpha1.ReasonAgentsNotReady + ": The agent does not report"},
		"kube-proxy does not come": {func(m *rollout.Member, s *v1alpha1.NodeRuleSetStatus) {
			m.VerifiedAt, m.TroubledSince = now, now
			s.Conditions = []metav1.Condition{{Type: "KubeProxyReplaced", Status: metav1.ConditionUnknown, Message: "kube-proxy does not run"}}
		}, "GivingBack: kube-proxy does not run"},
		"it says much": {func(m *rollout.Member, s *v1alpha1.NodeRuleSetStatus) {
			m.Reverted, s.Revision = true, &v1alpha1.RevisionStatus{Phase: v1alpha1.RevisionReverted, LastError: strings.Repeat("ä", 300)}
		}, "Reverted: " + strings.Repeat("ä", 253) + "..."},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := world()
			s.sets["b"].Spec.KubeProxy = v1alpha1.KubeProxyTakeOver
			s.members[1].VerifiedAt = time.Time{}
			if strings.HasPrefix(c.want, v1alpha1.ReasonGivingBack) {
				s.sets["b"].Spec.KubeProxy = v1alpha1.KubeProxyGiveBack
			}
			c.change(&s.members[1], &s.sets["b"].Status)
			if got := s.failed("b"); got.Name != "b" || got.Reason+": "+got.Message != c.want {
				t.Errorf("%s %s: %s, want %s", got.Name, got.Reason, got.Message, c.want)
			}
		})
	}
}

// TestDescribe checks the message, and whether an event of it is a warning.
func TestDescribe(t *testing.T) {
	blocked := []metav1.Condition{{Type: v1alpha1.ConditionPrechecked, Status: metav1.ConditionFalse, Message: "No mode fits"}}
	failed := []v1alpha1.FailingNode{{Name: "a", Reason: "Reverted", Message: "no"}, {Name: "b"}}
	for name, c := range map[string]struct {
		status v1alpha1.ProxyRolloutStatus
		want   string
		kind   string
	}{
		"begins":         {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutPending, ToRevision: "new"}, "The rollout of new begins", corev1.EventTypeNormal},
		"updates":        {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutUpdating, Stage: "one", Conditions: blocked}, "Nodes of the stage one get the revision", corev1.EventTypeNormal},
		"blocked":        {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutBlocked, Conditions: blocked}, "No mode fits", corev1.EventTypeWarning},
		"blocked, so":    {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutBlocked}, "", corev1.EventTypeWarning},
		"a person":       {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutPaused}, "No more nodes get the revision", corev1.EventTypeNormal},
		"a failure":      {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutPaused, Verdict: v1alpha1.VerdictFailed}, "No more nodes get the revision", corev1.EventTypeWarning},
		"returns":        {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutRollingBack, FromRevision: "before", FailedNodes: failed}, "Nodes return to before; node a failed it: Reverted: no", corev1.EventTypeWarning},
		"it was undone":  {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutRolledBack, FromRevision: "before"}, "All nodes are to have before. Change the ProxyConfig, or set spec.state: Retry", corev1.EventTypeWarning},
		"it waits":       {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutAwaitingApproval, Stage: "one"}, "Add one to spec.approvedStages to go on", corev1.EventTypeNormal},
		"it has ended":   {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutSucceeded}, "All nodes that are ready run the revision", corev1.EventTypeNormal},
		"it is cut off":  {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutSuperseded}, "The ProxyConfig asks for another revision", corev1.EventTypeNormal},
		"nodes verify":   {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutVerifying, Stage: "one"}, "Nodes of the stage one verify the revision", corev1.EventTypeNormal},
		"it is watched":  {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutSoaking, Stage: "one"}, "The stage one is watched", corev1.EventTypeNormal},
		"one has failed": {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutSoaking, Stage: "one", FailedNodes: failed[:1]}, "The stage one is watched; node a failed it: Reverted: no", corev1.EventTypeNormal},
	} {
		t.Run(name, func(t *testing.T) {
			if got, kind := describe(c.status), eventType(c.status); got != c.want || kind != c.kind {
				t.Errorf("%s: %q, want %s: %q", kind, got, c.kind, c.want)
			}
		})
	}
}

// TestTruncate checks that messages have at most as many characters as the API takes.
func TestTruncate(t *testing.T) {
	for _, n := range []int{maxMessage - 1, maxMessage, maxMessage + 1, 1000} {
		got := truncate(strings.Repeat("ä", n))
		if want := min(n, maxMessage); utf8.RuneCountInString(got) != want || strings.HasSuffix(got, "...") != (n > maxMessage) {
			t.Errorf("%d: %d characters: %s", n, utf8.RuneCountInString(got), got)
		}
	}
}

// TestTimes checks since when a rollout counts as begun and active, and that another try begins anew.
func TestTimes(t *testing.T) {
	progressing := func(is metav1.ConditionStatus) func(*v1alpha1.ProxyRollout) {
		return func(o *v1alpha1.ProxyRollout) {
			o.Status.Conditions = append(o.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionProgressing, Status: is, LastTransitionTime: *ago(77)})
		}
	}
	for name, c := range map[string]struct {
		change        func(*v1alpha1.ProxyRollout)
		since, active time.Time
	}{
		"it begins":   {nil, ago(500).Time, now},
		"it proceeds": {progressing(metav1.ConditionTrue), ago(500).Time, ago(77).Time},
		"it waits":    {progressing(metav1.ConditionFalse), ago(500).Time, now},
		"not known":   {func(o *v1alpha1.ProxyRollout) { o.Status.StartTime = nil }, time.Time{}, now},
		"another try": {func(o *v1alpha1.ProxyRollout) {
			o.Spec.State, o.Generation, o.Status.Verdict = v1alpha1.StateRetry, 4, v1alpha1.VerdictFailed
		}, now, now},
		"not once ran": {func(o *v1alpha1.ProxyRollout) { o.Spec.State, o.Generation = v1alpha1.StateRetry, 4 }, ago(500).Time, now},
	} {
		t.Run(name, func(t *testing.T) {
			s, target := world()
			s.run(target, c.change)
			status := *s.rollouts[0].Status.DeepCopy()
			retry(&status, s, s.rollouts[0])
			got, err := s.rollout(s.rollouts[0], status)
			if err != nil || !got.Since.Equal(c.since) || !got.ActiveSince.Equal(c.active) {
				t.Errorf("since %v, active since %v before now (%v)", now.Sub(got.Since), now.Sub(got.ActiveSince), err)
			}
		})
	}
}

// TestBlocked checks the conditions of a rollout that cannot begin, and of one that can.
func TestBlocked(t *testing.T) {
	type kubeProxy struct{ reason, message string }
	for name, c := range map[string]struct {
		problem error
		proxy   kubeProxy // of the condition, if the policy takes over
		want    string    // Prechecked, Progressing
	}{
		"it fits":             {nil, kubeProxy{}, "True/Fits True/Updating"},
		"no way back":         {fmt.Errorf("gone"), kubeProxy{}, "False/RevisionUnusable False/Blocked"},
		"other reason":        {fmt.Errorf("altered"), kubeProxy{}, "False/RevisionUnusable False/Blocked"},
		"takes over":          {nil, kubeProxy{"NodesPending", "n"}, "True/Fits True/Updating"},
		"takes over, no way":  {nil, kubeProxy{"DaemonSetOwned", "Helm"}, "False/DaemonSetOwned False/Blocked"},
		"takes over, unknown": {nil, kubeProxy{"DaemonSetOwned", "before"}, "Unknown/KubeProxyUnknown /"},
	} {
		t.Run(name, func(t *testing.T) {
			s, target := world()
			if c.proxy.reason != "" {
				s.config.Spec.KubeProxy, s.config.Generation = &v1alpha1.KubeProxyOptions{TakeOver: new(true)}, 7
				target = rollout.RevisionOf(s.config).Name
				s.config.Status.Conditions = []metav1.Condition{{Type: "KubeProxyReplaced", Status: "False", ObservedGeneration: 7, Reason: c.proxy.reason, Message: c.proxy.message}}
				if c.proxy.message == "before" {
					s.config.Status.Conditions[0].ObservedGeneration = 6
				}
			}
			s.run(target, func(o *v1alpha1.ProxyRollout) {
				o.Status.Conditions, o.Status.ObservedGeneration, o.Status.Stage = nil, 2, "one"
			})
			n, err := (&Reconciler{Nodes: &nodesFake{problem: c.problem}}).next(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			status := n.status[0].status
			for _, kind := range []string{v1alpha1.ConditionPrechecked, v1alpha1.ConditionProgressing} {
				c := ptr.Deref(apimeta.FindStatusCondition(status.Conditions, kind), metav1.Condition{})
				got = append(got, fmt.Sprintf("%s/%s", c.Status, c.Reason))
			}
			generation := int64(3)
			if strings.HasPrefix(c.want, "Unknown") {
				generation = 2 // nothing is decided
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" || status.ObservedGeneration != generation {
				t.Errorf("generation %d (-want +got):\n%s", status.ObservedGeneration, diff)
			}
		})
	}
}
