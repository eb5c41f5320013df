// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

var now = time.Unix(1_700_000_000, 0)

// ago is a time some seconds ago.
func ago(seconds int) *metav1.Time {
	return &metav1.Time{Time: now.Add(-time.Duration(seconds) * time.Second)}
}

// TestMemberOf is what counts of a node, of its NodeRuleSet and of its heartbeat.
func TestMemberOf(t *testing.T) {
	revision := func(change func(*v1alpha1.RevisionStatus)) func(*corev1.Node, *v1alpha1.NodeRuleSet) {
		return func(_ *corev1.Node, s *v1alpha1.NodeRuleSet) {
			s.Status.Revision = &v1alpha1.RevisionStatus{Name: "config-2", AssignedTime: ago(100), Phase: v1alpha1.RevisionVerified, VerifiedTime: ago(60)}
			change(s.Status.Revision)
		}
	}
	programmed := func(is metav1.ConditionStatus, generation int64, seconds int) []metav1.Condition {
		return []metav1.Condition{{Type: "Programmed", Status: is, Reason: "KernelError", ObservedGeneration: generation, LastTransitionTime: *ago(seconds)}}
	}
	given := rollout.Member{Name: "node", Labels: map[string]string{corev1.LabelTopologyZone: "z"}, Kind: "6.18/z", Ready: true,
		Assigned: "config-2", AssignedAt: ago(100).Time}
	with := func(change func(*rollout.Member)) rollout.Member {
		m := given
		change(&m)
		return m
	}
	works := with(func(m *rollout.Member) { m.VerifiedAt = ago(60).Time })
	for name, c := range map[string]struct {
		change func(*corev1.Node, *v1alpha1.NodeRuleSet)
		silent time.Time
		want   rollout.Member
	}{
		"it has not reported":          {func(*corev1.Node, *v1alpha1.NodeRuleSet) {}, time.Time{}, given},
		"verified":                     {revision(func(*v1alpha1.RevisionStatus) {}), time.Time{}, works},
		"programmed only":              {revision(func(r *v1alpha1.RevisionStatus) { r.Phase = v1alpha1.RevisionProgrammed }), time.Time{}, given},
		"verified another one":         {revision(func(r *v1alpha1.RevisionStatus) { r.Name = "config-1" }), time.Time{}, given},
		"verified before":              {revision(func(r *v1alpha1.RevisionStatus) { r.AssignedTime = ago(200) }), time.Time{}, given},
		"verified when none was given": {revision(func(r *v1alpha1.RevisionStatus) { r.AssignedTime = nil }), time.Time{}, given},
		"its clock is behind": {revision(func(r *v1alpha1.RevisionStatus) { r.VerifiedTime = ago(4000) }), time.Time{},
			with(func(m *rollout.Member) { m.VerifiedAt = ago(100).Time })},
		"reverted": {revision(func(r *v1alpha1.RevisionStatus) { r.Phase = v1alpha1.RevisionReverted }), time.Time{},
			with(func(m *rollout.Member) { m.Reverted = true })},
		"reverted another one": {revision(func(r *v1alpha1.RevisionStatus) { r.Name, r.Phase = "config-1", v1alpha1.RevisionReverted }), time.Time{}, given},
		"failed": {revision(func(r *v1alpha1.RevisionStatus) { r.Phase = v1alpha1.RevisionFailed }), time.Time{},
			with(func(m *rollout.Member) { m.Reverted = true })},
		"verified, and silent": {revision(func(*v1alpha1.RevisionStatus) {}), ago(5).Time,
			with(func(m *rollout.Member) { m.VerifiedAt, m.TroubledSince = ago(60).Time, ago(5).Time })},
		"not verified, and silent": {func(*corev1.Node, *v1alpha1.NodeRuleSet) {}, ago(5).Time, given},
		"verified, and fails": {func(n *corev1.Node, s *v1alpha1.NodeRuleSet) {
			revision(func(*v1alpha1.RevisionStatus) {})(n, s)
			s.Status.Conditions = programmed("False", 4, 7)
		}, time.Time{}, with(func(m *rollout.Member) { m.VerifiedAt, m.TroubledSince = ago(60).Time, ago(7).Time })},
		"verified, and failed before": {func(n *corev1.Node, s *v1alpha1.NodeRuleSet) {
			revision(func(*v1alpha1.RevisionStatus) {})(n, s)
			s.Status.Conditions = programmed("False", 3, 7)
		}, time.Time{}, works},
		"an agent without trials": {func(_ *corev1.Node, s *v1alpha1.NodeRuleSet) {
			s.Status.AppliedRevision, s.Status.Conditions = "config-2", programmed("True", 4, 40)
		}, time.Time{}, with(func(m *rollout.Member) { m.VerifiedAt = ago(40).Time })},
		"an agent without trials, programmed long ago": {func(_ *corev1.Node, s *v1alpha1.NodeRuleSet) {
			s.Status.AppliedRevision, s.Status.Conditions = "config-2", programmed("True", 4, 4000)
		}, time.Time{}, with(func(m *rollout.Member) { m.VerifiedAt = ago(100).Time })},
		"an agent without trials, another one": {func(_ *corev1.Node, s *v1alpha1.NodeRuleSet) {
			s.Status.AppliedRevision, s.Status.Conditions = "config-1", programmed("True", 4, 40)
		}, time.Time{}, given},
		"not ready": {func(n *corev1.Node, s *v1alpha1.NodeRuleSet) {
			revision(func(*v1alpha1.RevisionStatus) {})(n, s)
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, LastTransitionTime: *ago(9)}}
		}, ago(5).Time, with(func(m *rollout.Member) { m.VerifiedAt, m.Ready, m.AwaySince = ago(60).Time, false, ago(9).Time })},
		"nothing is known of the node": {func(n *corev1.Node, _ *v1alpha1.NodeRuleSet) { n.Status.Conditions = nil }, time.Time{},
			with(func(m *rollout.Member) { m.Ready, m.AwaySince = false, now })},
	} {
		t.Run(name, func(t *testing.T) {
			node, set := assignedNode(given.Labels)
			c.change(node, set)
			if diff := cmp.Diff(c.want, memberOf(node, set, c.silent, now)); diff != "" {
				t.Errorf("member (-want +got):\n%s", diff)
			}
		})
	}
}

// assignedNode is a node that is ready and was given a revision 100 seconds ago.
func assignedNode(labels map[string]string) (*corev1.Node, *v1alpha1.NodeRuleSet) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", Labels: labels}, Status: corev1.NodeStatus{
		NodeInfo:   corev1.NodeSystemInfo{KernelVersion: "6.18"},
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: *ago(4000)}}}}
	set := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: "node", Generation: 4, CreationTimestamp: *ago(5000)},
		Spec: v1alpha1.NodeRuleSetSpec{Revision: "config-2", AssignedTime: ago(100)}}
	return node, set
}

// TestMemberTakesOver is what counts of a node that is to take over from kube-proxy, or to give back. All times are in seconds
// before now.
func TestMemberTakesOver(t *testing.T) {
	const take, give = v1alpha1.KubeProxyTakeOver, v1alpha1.KubeProxyGiveBack
	const never = 0
	condition := func(kind string, is metav1.ConditionStatus, seconds int) metav1.Condition {
		return metav1.Condition{Type: kind, Status: is, Reason: "KernelError", ObservedGeneration: 4, LastTransitionTime: *ago(seconds)}
	}
	replaced := func(is metav1.ConditionStatus, seconds int) metav1.Condition {
		return condition("KubeProxyReplaced", is, seconds)
	}
	given := func(seconds int) metav1.Condition {
		c := replaced("False", seconds)
		c.Reason = v1alpha1.ReasonGivenBack
		return c
	}
	type times struct{ verified, troubled int }
	for name, c := range map[string]struct {
		action     v1alpha1.KubeProxyAction
		verified   int
		conditions []metav1.Condition
		silent     int
		want       times
	}{
		"kube-proxy is there":                 {take, 90, []metav1.Condition{replaced("False", 4000)}, never, times{90, 30}},
		"kube-proxy may still go":             {take, 10, []metav1.Condition{replaced("False", 4000)}, never, times{10, -50}},
		"kube-proxy has come back":            {take, 90, []metav1.Condition{replaced("False", 3)}, never, times{90, 3}},
		"the agent has not looked":            {take, 90, []metav1.Condition{replaced("Unknown", 90)}, never, times{90, 30}},
		"the agent says nothing":              {take, 90, nil, never, times{90, 30}},
		"kube-proxy is gone":                  {take, 60, []metav1.Condition{replaced("True", 20)}, never, times{20, never}},
		"kube-proxy has been gone before":     {take, 60, []metav1.Condition{replaced("True", 4000)}, never, times{60, never}},
		"kube-proxy is there, and is silent":  {take, 90, []metav1.Condition{replaced("False", 4000)}, 5, times{90, 5}},
		"kube-proxy is there, and fails":      {take, 90, []metav1.Condition{replaced("False", 4000), condition("Programmed", "False", 7)}, never, times{90, 7}},
		"kube-proxy has not come":             {give, 90, []metav1.Condition{replaced("Unknown", 90)}, never, times{90, 30}},
		"given back":                          {give, 60, []metav1.Condition{given(20)}, never, times{20, never}},
		"kube-proxy is there, and left alone": {"", 60, nil, never, times{60, never}},
	} {
		t.Run(name, func(t *testing.T) {
			at := func(seconds int) time.Time {
				if seconds == never {
					return time.Time{}
				}
				return ago(seconds).Time
			}
			node, set := assignedNode(nil)
			set.Spec.KubeProxy, set.Status.Conditions = c.action, c.conditions
			set.Status.Revision = &v1alpha1.RevisionStatus{Name: "config-2", AssignedTime: ago(100), Phase: v1alpha1.RevisionVerified, VerifiedTime: ago(c.verified)}
			m := memberOf(node, set, at(c.silent), now)
			if !m.VerifiedAt.Equal(at(c.want.verified)) || !m.TroubledSince.Equal(at(c.want.troubled)) {
				t.Errorf("verified %v, troubled since %v, now %v; want %+v", m.VerifiedAt, m.TroubledSince, now, c.want)
			}
		})
	}
}

// TestSilence follows two agents: which ones count as silent is a matter of the others.
func TestSilence(t *testing.T) {
	const patience = time.Minute
	for name, c := range map[string]struct {
		b    func(second int) bool // whether it beats then; a beats every 15 s but for an outage
		out  [2]int                // when the apiserver is away
		want int                   // since when b counts as silent; 0: it does not
	}{
		"both beat":                    {func(int) bool { return true }, [2]int{}, 0},
		"one has stopped":              {func(second int) bool { return second < 100 }, [2]int{}, 210}, // last 90, behind at 150
		"one was slow":                 {func(second int) bool { return second < 100 || second > 200 }, [2]int{}, 0},
		"the apiserver was away":       {func(int) bool { return true }, [2]int{100, 500}, 0},
		"one has stopped at an outage": {func(second int) bool { return second < 100 }, [2]int{100, 300}, 360},
	} {
		t.Run(name, func(t *testing.T) {
			s := &silence{}
			beats := map[string]time.Time{"a": now, "b": now}
			got := 0
			for second := 0; second <= 600; second += 5 {
				at := now.Add(time.Duration(second) * time.Second)
				if away := second >= c.out[0] && second < c.out[1]; second%15 == 0 && !away {
					beats["a"] = at
					if c.b(second) {
						beats["b"] = at
					}
				}
				var list []v1alpha1.NodeHeartbeat
				for name, renewed := range beats {
					// The clocks of the nodes do not count.
					list = append(list, v1alpha1.NodeHeartbeat{ObjectMeta: metav1.ObjectMeta{Name: name},
						Spec: v1alpha1.NodeHeartbeatSpec{RenewTime: metav1.Time{Time: renewed.Add(-time.Hour)}}})
				}
				silent := s.observe(list, at, patience)
				if !silent["a"].IsZero() {
					t.Fatalf("after %d s the one that beats is silent", second)
				}
				if since := silent["b"]; !since.IsZero() {
					got = int(since.Sub(now).Seconds())
				} else if got != 0 {
					t.Fatalf("after %d s it is not silent any more", second)
				}
			}
			if got != c.want {
				t.Errorf("silent since %d s, want %d", got, c.want)
			}
		})
	}
}
