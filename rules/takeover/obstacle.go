// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"slices"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Precheck returns why nodes cannot take over from kube-proxy as a ProxyConfig says, by its condition
// KubeProxyReplaced; an empty reason: nothing prevents it. found is what the agents have found on
// the nodes: where kube-proxy is gone, nothing needs to keep it off.
func Precheck(config *v1alpha1.ProxyConfig, found []*v1alpha1.KubeProxyStatus) (reason, message string) {
	o := config.Spec.KubeProxy
	if o == nil || o.TakeOver == nil || !*o.TakeOver ||
		!slices.ContainsFunc(found, func(s *v1alpha1.KubeProxyStatus) bool { return !s.IsGone() }) {
		return "", ""
	}
	c := apimeta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced)
	if c == nil || c.ObservedGeneration != config.Generation {
		return v1alpha1.ReasonKubeProxyUnknown, "The controller has not looked at the DaemonSet " + o.DaemonSet + " yet"
	}
	switch c.Reason {
	case v1alpha1.ReasonDaemonSetNotFound, v1alpha1.ReasonDaemonSetOwned, v1alpha1.ReasonMissingPermission:
		return c.Reason, c.Message
	}
	return "", ""
}
