// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// handover finds what keeps the controller from changing kube-proxy's DaemonSet.
func handover(f *Facts) []string {
	var out []string
	for i := range f.Reported.Configs {
		config := &f.Reported.Configs[i]
		c := meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced)
		if c == nil || c.Status == metav1.ConditionTrue {
			continue
		}
		switch c.Reason {
		case v1alpha1.ReasonMissingPermission, v1alpha1.ReasonDaemonSetNotFound, v1alpha1.ReasonDaemonSetOwned, v1alpha1.ReasonDaemonSetSkipsNodes:
			out = append(out, fmt.Sprintf("%s: %s: %s", config.Name, c.Reason, c.Message))
		}
	}
	return out
}

func failedRollouts(f *Facts) []string {
	var out []string
	for _, p := range f.report.Policies {
		r := p.Rollout
		if r == nil || r.Verdict != v1alpha1.VerdictFailed && r.Phase != v1alpha1.RolloutBlocked {
			continue
		}
		text := fmt.Sprintf("%s: rollout %s is %s", p.Name, r.Name, r.Phase)
		for i := range f.Reported.Rollouts {
			if stored := &f.Reported.Rollouts[i]; stored.Name == r.Name && r.Phase == v1alpha1.RolloutBlocked {
				if c := meta.FindStatusCondition(stored.Status.Conditions, v1alpha1.ConditionPrechecked); c != nil {
					text += ": " + c.Message
				}
			}
		}
		if len(r.Failed) > 0 {
			text += fmt.Sprintf(": %s: %s: %s", r.Failed[0].Name, r.Failed[0].Reason, r.Failed[0].Message)
		}
		out = append(out, text)
	}
	return out
}

func waitingRollouts(f *Facts) []string {
	var out []string
	for _, p := range f.report.Policies {
		r := p.Rollout
		if r == nil || r.Verdict != "" {
			continue
		}
		phase := r.Phase
		if r.State == v1alpha1.StatePause { // its nodes may still soak
			phase = v1alpha1.RolloutPaused
		}
		if phase == v1alpha1.RolloutPaused || phase == v1alpha1.RolloutAwaitingApproval {
			out = append(out, fmt.Sprintf("%s: rollout %s is %s in the stage %s", p.Name, r.Name, phase, cmp.Or(r.Stage, "-")))
		}
	}
	return out
}
