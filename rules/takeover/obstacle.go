// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"slices"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Precheck returns why nodes cannot take over from kube-proxy, or give back to it, as a ProxyConfig says, by
// its condition KubeProxyReplaced; an empty reason: nothing prevents it.
func Precheck(config *v1alpha1.ProxyConfig, sets []*v1alpha1.NodeRuleSet) (reason, message string) {
	o := config.Spec.KubeProxy
	if o == nil || o.TakeOver == nil {
		return "", ""
	}
	needs, reasons := needsKeepingOff, []string{v1alpha1.ReasonDaemonSetNotFound, v1alpha1.ReasonDaemonSetOwned, v1alpha1.ReasonMissingPermission}
	if !*o.TakeOver {
		// A DaemonSet of something else starts kube-proxy where the label goes.
		needs, reasons = needsStarting, []string{v1alpha1.ReasonDaemonSetNotFound, v1alpha1.ReasonDaemonSetSkipsNodes, v1alpha1.ReasonMissingPermission}
	}
	if !slices.ContainsFunc(sets, needs) {
		return "", ""
	}
	c := apimeta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced)
	if c == nil || c.ObservedGeneration != config.Generation {
		return v1alpha1.ReasonKubeProxyUnknown, "The controller has not looked at the DaemonSet " + o.DaemonSet + " yet"
	}
	if slices.Contains(reasons, c.Reason) {
		return c.Reason, c.Message
	}
	return "", ""
}

// needsKeepingOff says that a node has to keep kube-proxy off. Where its agent finds kube-proxy gone, nothing
// has to.
func needsKeepingOff(set *v1alpha1.NodeRuleSet) bool { return !set.Status.KubeProxy.IsGone() }

// needsStarting says that something has to start kube-proxy on a node before that can give back: it has taken
// over, and its agent does not find kube-proxy.
func needsStarting(set *v1alpha1.NodeRuleSet) bool {
	return set.Spec.KubeProxy == v1alpha1.KubeProxyTakeOver && AwaitsKubeProxy(set)
}
