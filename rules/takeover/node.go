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

// patience is how long a node that has verified its revision may take until kube-proxy is gone, or serves
// it, before that is trouble: kube-proxy's Pod ends or starts, two looks of the agent find that, and the rules
// of the other one are removed.
const patience = time.Minute

// isDone says whether a node that has verified its revision has taken over or given back, or leaves
// kube-proxy alone.
func isDone(set *v1alpha1.NodeRuleSet) bool {
	return set.Spec.KubeProxy == "" || HasTakenOver(set, true) || HasGivenBack(set)
}

// Progress says since when a node is done that has verified its revision, or since when it is in trouble,
// which may come: it is to take over or to give back, and has not. One of both is zero.
func Progress(set *v1alpha1.NodeRuleSet, verified time.Time) (done, troubled time.Time) {
	if set.Spec.KubeProxy == "" {
		return verified, time.Time{}
	}
	since := verified
	if !isDone(set) {
		since = verified.Add(patience)
	}
	c := apimeta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced)
	if c != nil && c.LastTransitionTime.After(since) {
		since = c.LastTransitionTime.Time
	}
	if isDone(set) {
		return since, time.Time{}
	}
	return time.Time{}, since
}

// Obstacle says why a node that has verified its revision has not taken over, or not given back; an empty
// reason: it is done.
func Obstacle(set *v1alpha1.NodeRuleSet) (reason, message string) {
	if isDone(set) {
		return "", ""
	}
	reason, message = v1alpha1.ReasonKubeProxyFound, "The agent does not say whether kube-proxy is gone"
	if set.Spec.KubeProxy == v1alpha1.KubeProxyGiveBack {
		reason, message = v1alpha1.ReasonGivingBack, "The agent does not say whether kube-proxy serves the node"
	}
	if c := apimeta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced); c != nil {
		message = c.Message
	}
	return reason, message
}
