// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package revisions

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestConfigChanged checks which changes of a ProxyConfig trigger a reconcile.
func TestConfigChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.ProxyConfig)
		want   bool
	}{
		"counts":              {func(c *v1alpha1.ProxyConfig) { c.Status.Nodes = &v1alpha1.NodeCounts{Selected: 1} }, false},
		"spec":                {func(c *v1alpha1.ProxyConfig) { c.Generation++ }, true},
		"the stable revision": {func(c *v1alpha1.ProxyConfig) { c.Status.StableRevision = "config-2" }, true},
		"another of its name": {func(c *v1alpha1.ProxyConfig) { c.UID = "other" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "config", UID: "one", Generation: 1}}
			after := before.DeepCopy()
			c.change(after)
			if got := configChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestUseChanged checks which changes of a NodeRuleSet trigger a reconcile.
func TestUseChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.NodeRuleSet)
		want   bool
	}{
		"counts":               {func(s *v1alpha1.NodeRuleSet) { s.Status.RulesDigest = "1" }, false},
		"another part of spec": {func(s *v1alpha1.NodeRuleSet) { s.Spec.Node.Zone = "a" }, false},
		"it is to have one":    {func(s *v1alpha1.NodeRuleSet) { s.Spec.Revision = "config-2" }, true},
		"it has one":           {func(s *v1alpha1.NodeRuleSet) { s.Status.AppliedRevision = "config-2" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := &v1alpha1.NodeRuleSet{Spec: v1alpha1.NodeRuleSetSpec{Revision: "config-1"}}
			after := before.DeepCopy()
			c.change(after)
			if got := useChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	set := &v1alpha1.NodeRuleSet{}
	if useChanged().Create(event.CreateEvent{Object: set}) || !useChanged().Delete(event.DeleteEvent{Object: set}) {
		t.Error("only an end of use deletes revisions")
	}
}

// TestRolloutEnded checks which changes of a ProxyRollout trigger a reconcile.
func TestRolloutEnded(t *testing.T) {
	superseded := metav1.Condition{Type: v1alpha1.ConditionSuperseded, Status: metav1.ConditionTrue}
	for name, c := range map[string]struct {
		change func(*v1alpha1.ProxyRolloutStatus)
		want   bool
	}{
		"another phase": {func(s *v1alpha1.ProxyRolloutStatus) { s.Phase = v1alpha1.RolloutSoaking }, false},
		"undone": {func(s *v1alpha1.ProxyRolloutStatus) {
			s.Phase, s.Verdict = v1alpha1.RolloutRolledBack, v1alpha1.VerdictFailed
		}, false},
		"it has succeeded":      {func(s *v1alpha1.ProxyRolloutStatus) { s.Verdict = v1alpha1.VerdictSucceeded }, true},
		"superseded in between": {func(s *v1alpha1.ProxyRolloutStatus) { s.Phase = v1alpha1.RolloutSuperseded }, true},
		"superseded after it was undone": {func(s *v1alpha1.ProxyRolloutStatus) {
			s.Phase, s.Verdict, s.Conditions = v1alpha1.RolloutRolledBack, v1alpha1.VerdictFailed, []metav1.Condition{superseded}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := &v1alpha1.ProxyRollout{Status: v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutUpdating}}
			after := before.DeepCopy()
			c.change(&after.Status)
			if got := rolloutEnded().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if rolloutEnded().Update(event.UpdateEvent{ObjectOld: after, ObjectNew: after}) {
				t.Error("a change of nothing is accepted")
			}
		})
	}
	if !rolloutEnded().Delete(event.DeleteEvent{Object: &v1alpha1.ProxyRollout{}}) {
		t.Error("one that is deleted is not accepted")
	}
}

// TestUsed checks which revisions stay, whatever the limit.
func TestUsed(t *testing.T) {
	rollout := func(name string, s v1alpha1.ProxyRolloutStatus) client.Object {
		s.FromRevision, s.ToRevision = name+"-from", name+"-to"
		return &v1alpha1.ProxyRollout{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: s}
	}
	set := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: "node"}, Spec: v1alpha1.NodeRuleSetSpec{Revision: "wanted"},
		Status: v1alpha1.NodeRuleSetStatus{AppliedRevision: "applied"}}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(set,
		rollout("underway", v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutSoaking}),
		rollout("undone", v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutRolledBack, Verdict: v1alpha1.VerdictFailed}),
		rollout("succeeded", v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutSucceeded, Verdict: v1alpha1.VerdictSucceeded}),
		rollout("superseded", v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutSuperseded}),
		rollout("replaced", v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutRolledBack, Verdict: v1alpha1.VerdictFailed,
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionSuperseded, Status: metav1.ConditionTrue}}}),
	).Build()}
	got, err := r.used(t.Context(), &v1alpha1.ProxyConfig{Status: v1alpha1.ProxyConfigStatus{StableRevision: "stable"}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"stable": true, "wanted": true, "applied": true, "underway-from": true, "underway-to": true, "undone-from": true, "undone-to": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
