// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// GivesBack says whether kube-proxy is to take the node back, for which its ports must be free.
func (s Snapshot) GivesBack() bool { return s.asks(v1alpha1.KubeProxyGiveBack) }

// asks says whether the node is to do this. A clean-up that awaits kube-proxy is asked for whatever policy the
// node has returned to.
func (s Snapshot) asks(action v1alpha1.KubeProxyAction) bool {
	if s.AwaitsKubeProxy {
		return action == v1alpha1.KubeProxyGiveBack
	}
	return s.Node != nil && !s.leaves() && s.rules().Spec.KubeProxy == action
}

// TakesOver says whether rules of kube-proxy are in the kernel that are to go. While they are there,
// a kube-proxy that starts again must find its port free, by which it is found.
func (s Snapshot) TakesOver() bool {
	return s.asks(v1alpha1.KubeProxyTakeOver) && s.KubeProxy != nil && len(s.KubeProxy.Leftovers) > 0
}

// Replaced says whether these rules can go: no kube-proxy runs, and all that the API asks for is
// programmed and verified.
func (s Snapshot) Replaced() bool {
	c := programmed(s)
	return s.TakesOver() && !s.KubeProxy.Running &&
		c.Status == metav1.ConditionTrue && c.Reason == v1alpha1.ReasonProgrammed &&
		s.Problem(ModeChangeFailed) == nil && s.Problem(ModeUnsupported) == nil &&
		(s.Revision == nil || s.Revision.Phase == v1alpha1.RevisionVerified)
}

// Changes says whether the node is on its way from kube-proxy to the agent, or back.
func (s Snapshot) Changes() bool {
	return s.asks(v1alpha1.KubeProxyTakeOver) && !s.KubeProxy.IsGone() || s.GivesBack() && !s.Released
}

// replaced says how far the node has taken over from kube-proxy; false: it is to leave it alone.
// Before the first look, what an agent before has found counts.
func replaced(s Snapshot, previous []metav1.Condition) (c metav1.Condition, ok bool) {
	const kind = v1alpha1.ConditionKubeProxyReplaced
	if !s.asks(v1alpha1.KubeProxyTakeOver) && !s.asks(v1alpha1.KubeProxyGiveBack) {
		return c, false
	}
	given := s.Released && s.Problem(NodeCleanup) == nil
	before := apimeta.FindStatusCondition(previous, kind)
	switch {
	case s.KubeProxy == nil && before != nil:
		return condition(kind, before.Status, before.Reason, before.Message), true
	case s.KubeProxy == nil:
		return condition(kind, metav1.ConditionUnknown, v1alpha1.ReasonKubeProxyUnknown, "The agent has not looked for kube-proxy yet."), true
	case given:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonGivenBack, "kube-proxy serves the node, which holds no rules of the agent."), true
	case s.asks(v1alpha1.KubeProxyGiveBack):
		// Neither of both: so the time of the condition is when kube-proxy took the node.
		return condition(kind, metav1.ConditionUnknown, v1alpha1.ReasonGivingBack, awaited(s.KubeProxy)), true
	case s.KubeProxy.IsGone():
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonReplaced, "Neither kube-proxy nor its rules are on the node."), true
	}
	return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonKubeProxyFound, describe(s.KubeProxy)), true
}

// awaited says why the node is not given back yet.
func awaited(found *v1alpha1.KubeProxyStatus) string {
	if !found.Running {
		return strings.TrimSpace("kube-proxy does not run. " + found.Message)
	}
	return describe(found)
}

// describe says what was found of kube-proxy.
func describe(found *v1alpha1.KubeProxyStatus) string {
	var out []string
	if found.Running {
		out = append(out, "kube-proxy runs, in the mode "+cmp.Or(string(found.Mode), "unknown"))
	}
	if len(found.Leftovers) > 0 {
		out = append(out, "Rules of kube-proxy are in the kernel: "+strings.Join(found.Leftovers, ", "))
	}
	if found.Message != "" {
		out = append(out, found.Message)
	}
	return strings.Join(out, ". ") + "."
}
