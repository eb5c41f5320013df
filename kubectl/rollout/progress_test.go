// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	rules "github.com/fairlead-proxy/fairlead/rules/rollout"
)

func TestProgress(t *testing.T) {
	policy := func(strategy v1alpha1.RolloutStrategy) *v1alpha1.ProxyConfig {
		c := current(v1alpha1.ModeIPTables)
		c.Spec.Rollout.Strategy = strategy
		return c
	}
	target := rules.RevisionOf(policy(v1alpha1.Staged)).Name
	const before = "default-0"
	// of is the rollout of the current policy.
	of := func(phase v1alpha1.RolloutPhase, verdict v1alpha1.RolloutVerdict, conditions ...metav1.Condition) *v1alpha1.ProxyRollout {
		r := &v1alpha1.ProxyRollout{ObjectMeta: metav1.ObjectMeta{Name: target}}
		r.Status.Phase, r.Status.Verdict, r.Status.Conditions = phase, verdict, conditions
		return r
	}
	superseded := metav1.Condition{Type: v1alpha1.ConditionSuperseded, Status: metav1.ConditionTrue}
	elsewhere := node("node-9", "edge-1")
	elsewhere.Spec.Policy.Name = "edge"
	cases := map[string]struct {
		policy  *v1alpha1.ProxyConfig
		objects []client.Object
		want    Progress
	}{
		"soaks": {policy(v1alpha1.Staged), []client.Object{
			node("node-1", target), of(v1alpha1.RolloutSoaking, "", metav1.Condition{Type: v1alpha1.ConditionProgressing, Message: "30 s"})},
			Progress{Message: "ProxyRollout " + target + ": Soaking, 30 s"}},
		"has just begun": {policy(v1alpha1.Staged), []client.Object{of("", "")}, Progress{Message: "ProxyRollout " + target + ": Pending"}},
		"is blocked":     {policy(v1alpha1.Staged), []client.Object{of(v1alpha1.RolloutBlocked, "")}, Progress{Message: "ProxyRollout " + target + ": Blocked"}},
		"succeeded": {policy(v1alpha1.Staged), []client.Object{of(v1alpha1.RolloutSucceeded, v1alpha1.VerdictSucceeded)},
			Progress{Message: "ProxyRollout " + target + ": Succeeded", Ended: true, Succeeded: true}},
		"returns": {policy(v1alpha1.Staged), []client.Object{of(v1alpha1.RolloutRollingBack, v1alpha1.VerdictFailed)},
			Progress{Message: "ProxyRollout " + target + ": RollingBack"}},
		"has returned": {policy(v1alpha1.Staged), []client.Object{of(v1alpha1.RolloutRolledBack, v1alpha1.VerdictAborted)},
			Progress{Message: "ProxyRollout " + target + ": RolledBack", Ended: true}},
		"failed, and stays": {policy(v1alpha1.Staged), []client.Object{of(v1alpha1.RolloutPaused, v1alpha1.VerdictFailed)},
			Progress{Message: "ProxyRollout " + target + ": Paused", Ended: true}},
		"the policy has come back": {policy(v1alpha1.Staged), []client.Object{
			of(v1alpha1.RolloutSucceeded, v1alpha1.VerdictSucceeded, superseded), node("node-1", before), node("node-2", target), elsewhere},
			Progress{Message: "ProxyConfig default: 1 of 2 nodes run revision " + target}},
		"no rollout is needed": {policy(v1alpha1.Staged), []client.Object{node("node-1", target), elsewhere},
			Progress{Message: "ProxyConfig default: 1 of 1 nodes run revision " + target, Ended: true, Succeeded: true}},
		"at once, whatever a rollout says": {policy(v1alpha1.AllAtOnce), []client.Object{
			of(v1alpha1.RolloutSucceeded, v1alpha1.VerdictSucceeded), node("node-1", before), node("node-2", target)},
			Progress{Message: "ProxyConfig default: 1 of 2 nodes run revision " + target}},
		"no node": {policy(v1alpha1.AllAtOnce), []client.Object{elsewhere}, Progress{Message: "ProxyConfig default: 0 of 0 nodes run revision " + target}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			api := builder(t).WithObjects(append(tc.objects, tc.policy)...).Build()
			got, err := ProgressOf(context.Background(), api, types.NamespacedName{Name: "default"})
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}
