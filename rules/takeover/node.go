// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package takeover decides how nodes take over from kube-proxy, and give back to it: which nodes
// have the label that keeps kube-proxy off, and how its DaemonSet heeds that label.
package takeover

import (
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

// IsGone says whether a node has neither a kube-proxy nor rules of one.
func IsGone(set *v1alpha1.NodeRuleSet) bool {
	s := set.Status.KubeProxy
	return s == nil || !s.Running && len(s.Leftovers) == 0 && s.Message == ""
}

// HasTakenOver says whether a node is to take over from kube-proxy, and nothing of that is left.
func HasTakenOver(set *v1alpha1.NodeRuleSet, verified bool) bool {
	return set.Spec.KubeProxy == v1alpha1.KubeProxyTakeOver && verified && IsGone(set)
}
