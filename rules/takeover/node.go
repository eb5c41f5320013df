// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package takeover decides how nodes take over from kube-proxy, and give back to it: which nodes
// have the label that keeps kube-proxy off, and how its DaemonSet heeds that label.
package takeover

import (
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Replaced says whether a node is to have the label that keeps kube-proxy off. verified says that
// it has verified its revision. A node that has the label keeps it while its rules fail: they
// are what it has, and kube-proxy would need as long to program its own.
func Replaced(set *v1alpha1.NodeRuleSet, verified, labelled bool) bool {
	if set.Spec.KubeProxy != v1alpha1.KubeProxyTakeOver {
		return false
	}
	return labelled || verified && apimeta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionProgrammed)
}

// HasTakenOver says whether a node is to take over from kube-proxy, and has neither kube-proxy
// nor rules of it. verified says that it has verified its revision.
func HasTakenOver(set *v1alpha1.NodeRuleSet, verified bool) bool {
	return set.Spec.KubeProxy == v1alpha1.KubeProxyTakeOver && verified &&
		apimeta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced)
}

// HasGivenBack says whether a node is to give back to kube-proxy, which serves it, and has no rules of
// the agent.
func HasGivenBack(set *v1alpha1.NodeRuleSet) bool {
	c := apimeta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced)
	return set.Spec.KubeProxy == v1alpha1.KubeProxyGiveBack && c != nil && c.Reason == v1alpha1.ReasonGivenBack
}

// patience is how long kube-proxy may stay on a node that has verified that it takes over, before
// that is trouble: its Pod ends, two looks of the agent find it gone, and its rules are removed.
const patience = time.Minute

// Progress says since when a node is done that has verified its revision, or since when it is in trouble,
// which may come: it is to take over, and kube-proxy or rules of it are still there. One of both is zero.
func Progress(set *v1alpha1.NodeRuleSet, verified time.Time) (done, troubled time.Time) {
	if set.Spec.KubeProxy != v1alpha1.KubeProxyTakeOver {
		return verified, time.Time{}
	}
	var since time.Time
	if c := apimeta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced); c != nil {
		since = c.LastTransitionTime.Time
	}
	if HasTakenOver(set, true) {
		return latest(verified, since), time.Time{}
	}
	return time.Time{}, latest(verified.Add(patience), since)
}

// Remains says what of kube-proxy is still on a node that is to take over; empty: nothing.
func Remains(set *v1alpha1.NodeRuleSet) string {
	c := apimeta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced)
	switch {
	case set.Spec.KubeProxy != v1alpha1.KubeProxyTakeOver || HasTakenOver(set, true):
		return ""
	case c == nil:
		return "The agent does not say whether kube-proxy is gone"
	}
	return c.Message
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
