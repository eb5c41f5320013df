// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
)

// cleaningPolicy selects n1, which is cleaned up after its deletion.
func cleaningPolicy(name string) *v1alpha1.ProxyConfig {
	p := policy(name, "n1", 0)
	p.Spec.DeletionPolicy = v1alpha1.DeletionCleanup
	return p
}

// wantAgain reconciles n1 and checks when it is to be reconciled again.
func (n *nodes) wantAgain(after time.Duration, want ...string) {
	n.t.Helper()
	n.writes = nil
	result, err := n.Reconcile(n.t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: "n1"}})
	if err != nil {
		n.t.Fatal(err)
	}
	if result.RequeueAfter != after {
		n.t.Errorf("reconciles again after %s, want %s", result.RequeueAfter, after)
	}
	if diff := cmp.Diff(want, n.writes); diff != "" {
		n.t.Errorf("writes (-want +got):\n%s", diff)
	}
}

func (n *nodes) wantEvents(want ...string) {
	n.t.Helper()
	var got []string
	for len(n.events.Events) > 0 {
		got = append(got, strings.Join(strings.Fields(<-n.events.Events)[:2], " "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		n.t.Errorf("events (-want +got):\n%s", diff)
	}
}

// reportCleanedUp does what the agent does.
func reportCleanedUp(t *testing.T) {
	t.Helper()
	set := ruleSet(t, "n1")
	set.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionFalse,
		Reason: v1alpha1.ReasonCleanedUp, ObservedGeneration: set.Generation, LastTransitionTime: metav1.Now()}}
	if err := api.Status().Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
}

// TestDeparture deletes the last policy that selects a node, with the deletion policy
// Cleanup: the NodeRuleSet stays until the agent has reported, or a deadline is over.
func TestDeparture(t *testing.T) {
	const patience = 2 * time.Minute
	cases := map[string]func(t *testing.T, n *nodes){
		"the agent reports": func(t *testing.T, n *nodes) {
			reportCleanedUp(t)
			n.wantAgain(0, "delete n1")
			n.wantEvents()
		},
		"the agent is silent, and the controller restarts": func(_ *testing.T, n *nodes) {
			n.clock.SetTime(n.clock.Now().Add(time.Minute))
			n.wantAgain(time.Minute)
			n.clock.SetTime(n.clock.Now().Add(time.Minute))
			n.wantEvents()
			n.wantAgain(0, "delete n1")
			n.wantEvents("Warning NotCleanedUp")
		},
		"another policy selects the node": func(t *testing.T, n *nodes) {
			create(t, policy("other", "n1", 0))
			n.wantAgain(ssa.LookAgain, "apply n1")
			got := ruleSet(t, "n1").Spec
			if got.CleanUpSince != nil || got.DeletionPolicy != v1alpha1.DeletionKeep || got.Policy.Name != "other" {
				t.Errorf("spec: got %+v", got)
			}
			n.wantAgain(0)
		},
		"the Node goes": func(t *testing.T, n *nodes) {
			remove(t, node("n1"))
			n.wantAgain(0, "delete n1")
			n.wantEvents()
		},
		"the cache misses a policy": func(t *testing.T, n *nodes) {
			reportCleanedUp(t)
			create(t, policy("other", "n1", 0))
			n.hide = func(obj client.Object) bool { _, ok := obj.(*v1alpha1.ProxyConfig); return ok }
			wantError(t, n.try("n1"), "the cache does not have the Node or ProxyConfig that the apiserver has")
			ruleSet(t, "n1")
		},
	}
	for name, then := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNodes(t)
			last := cleaningPolicy("last")
			create(t, node("n1"), last)
			n.wantAgain(ssa.LookAgain, "apply n1")
			before := ruleSet(t, "n1").Spec
			remove(t, last)
			n.wantAgain(patience, "apply n1")
			asked := metav1.NewTime(n.clock.Now())
			want := *before.DeepCopy()
			want.CleanUpSince = &asked
			if diff := cmp.Diff(want, ruleSet(t, "n1").Spec); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			n.wantAgain(patience)
			then(t, n)
		})
	}
}
