// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

import (
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// rolloutOf returns the rollout of the current policy of a ProxyConfig; nil: there is none.
func rolloutOf(config *v1alpha1.ProxyConfig, rollouts []v1alpha1.ProxyRollout) *v1alpha1.ProxyRollout {
	if !rollout.IsStaged(config) {
		return nil
	}
	target := rollout.RevisionOf(config).Name
	for i := range rollouts {
		o := &rollouts[i]
		if o.Name == target && ssa.IsOurs(o, config) && !apimeta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionSuperseded) {
			return o
		}
	}
	return nil
}

// summary returns what the status of a ProxyConfig says of its rollout.
func summary(o *v1alpha1.ProxyRollout) *v1alpha1.RolloutSummary {
	if o == nil {
		return nil
	}
	return &v1alpha1.RolloutSummary{Name: o.Name, Phase: o.Status.Phase, Stage: o.Status.Stage}
}

// stable returns the revision that nodes can return to. While one is rolled out, all nodes may have
// it, and soak; and when the next one comes, it is not stable either.
func stable(in input, states []nodeState) string {
	before := in.config.Status.StableRevision
	switch o := in.rollout; {
	case o != nil && o.Status.Verdict == v1alpha1.VerdictSucceeded:
		return o.Name
	case o != nil:
		return before
	}
	common := rollout.Stable(before, revisions(states))
	if rollout.IsStaged(in.config) && common != rollout.RevisionOf(in.config).Name {
		return before
	}
	return common
}

// rolling returns the condition Progressing while a revision is rolled out; nil: none is.
func rolling(o *v1alpha1.ProxyRollout) *metav1.Condition {
	if o == nil || o.Status.Phase == v1alpha1.RolloutSucceeded {
		return nil
	}
	c := metav1.Condition{Type: v1alpha1.ConditionProgressing, Status: metav1.ConditionTrue,
		Reason: v1alpha1.EventRollout + string(o.Status.Phase), Message: "ProxyRollout " + o.Name}
	if o.Status.Stage != "" {
		c.Message += ", stage " + o.Status.Stage
	}
	switch o.Status.Phase {
	case "":
		c.Reason = v1alpha1.EventRollout + string(v1alpha1.RolloutPending)
	case v1alpha1.RolloutBlocked, v1alpha1.RolloutPaused, v1alpha1.RolloutRolledBack, v1alpha1.RolloutAwaitingApproval:
		c.Status = metav1.ConditionFalse
	}
	if p := apimeta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionProgressing); p != nil {
		c.Message += ": " + p.Message
	}
	return &c
}

// listed says of how many nodes a list of the first ten is.
func listed(n int) string {
	if n == maxListedNodes {
		return fmt.Sprintf("%d nodes or more", n)
	}
	return nodes(n)
}
