// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestSetChanged checks which changes of a NodeRuleSet trigger a reconcile.
func TestSetChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.NodeRuleSet)
		want   bool
	}{
		"counts":                  {func(s *v1alpha1.NodeRuleSet) { s.Status.RulesDigest = "1" }, false},
		"the time of a condition": {func(s *v1alpha1.NodeRuleSet) { s.Status.Conditions[0].LastTransitionTime = metav1.Now() }, false},
		"the action":              {func(s *v1alpha1.NodeRuleSet) { s.Spec.KubeProxy = give }, true},
		"the policy":              {func(s *v1alpha1.NodeRuleSet) { s.Spec.Policy.Name = "b" }, true},
		"the revision":            {func(s *v1alpha1.NodeRuleSet) { s.Spec.Revision = "r2" }, true},
		"it is not verified":      {programmed, true},
		"it is not programmed":    {func(s *v1alpha1.NodeRuleSet) { s.Status.Conditions[0].Status = metav1.ConditionFalse }, true},
		"kube-proxy runs":         {running, true},
		"it has given back": {func(s *v1alpha1.NodeRuleSet) {
			s.Spec.KubeProxy, s.Status.Conditions[1].Reason = give, v1alpha1.ReasonGivenBack
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := set("n", "a", take)
			after := before.DeepCopy()
			c.change(after)
			if got := setChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestLabelChanged checks which changes of a Node trigger a reconcile.
func TestLabelChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*corev1.Node)
		want   bool
	}{
		"another label":       {func(n *corev1.Node) { n.Labels["a"] = "b" }, false},
		"the label":           {func(n *corev1.Node) { delete(n.Labels, v1alpha1.LabelKubeProxy) }, true},
		"another value":       {func(n *corev1.Node) { n.Labels[v1alpha1.LabelKubeProxy] = "no" }, true},
		"another of its name": {func(n *corev1.Node) { n.UID = "other" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := node("n", true)
			after := before.DeepCopy()
			c.change(after)
			if got := labelChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestPolicyOf(t *testing.T) {
	if got := policyOf(t.Context(), set("n", "a", take)); len(got) != 1 || got[0].Name != "a" {
		t.Errorf("got %v", got)
	}
}
