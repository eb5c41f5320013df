// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// TestStatusOfRollout is what a ProxyConfig says of its rollout, and what is stable. Its one
// node runs the current revision, or another one.
func TestStatusOfRollout(t *testing.T) {
	const other = "default-other"
	config := v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "uid"},
		Spec: v1alpha1.ProxyConfigSpec{Rollout: v1alpha1.RolloutOptions{Strategy: v1alpha1.Staged}}, Status: v1alpha1.ProxyConfigStatus{StableRevision: "default-before"}}
	target := rollout.RevisionOf(&config).Name
	in := func(phase v1alpha1.RolloutPhase, verdict v1alpha1.RolloutVerdict, failed ...string) func(*v1alpha1.ProxyRollout) {
		return func(o *v1alpha1.ProxyRollout) {
			o.Status.Phase, o.Status.Verdict = phase, verdict
			for _, name := range failed {
				o.Status.FailedNodes = append(o.Status.FailedNodes, v1alpha1.FailingNode{Name: name, Reason: "Reverted", Message: "no"})
			}
		}
	}
	atOnce := func(c *v1alpha1.ProxyConfig) { c.Spec.Rollout.Strategy = v1alpha1.AllAtOnce }
	type want struct {
		Rollout                       v1alpha1.RolloutPhase
		Stable, Progressing, Degraded string
	}
	for name, c := range map[string]struct {
		runs   string
		of     func(*v1alpha1.ProxyRollout) // nil: there is no rollout
		change func(*v1alpha1.ProxyConfig)
		want   want
	}{
		"none":                      {target, nil, nil, want{"", target, "False AllNodesProgrammed", "False Healthy"}},
		"none yet":                  {other, nil, nil, want{"", "default-before", "False AllNodesProgrammed", "False Healthy"}},
		"at once":                   {other, nil, atOnce, want{"", other, "False AllNodesProgrammed", "False Healthy"}},
		"not begun":                 {other, in("", ""), nil, want{"", "default-before", "True RolloutPending", "False Healthy"}},
		"all have it, and soak":     {target, in("Soaking", ""), nil, want{"Soaking", "default-before", "True RolloutSoaking", "False Healthy"}},
		"it waits":                  {other, in("AwaitingApproval", ""), nil, want{"AwaitingApproval", "default-before", "False RolloutAwaitingApproval", "False Healthy"}},
		"one is tolerated":          {other, in("Updating", "", "a"), nil, want{"Updating", "default-before", "True RolloutUpdating", "True RolloutFailing"}},
		"it is undone":              {other, in("RolledBack", "Failed", "a"), nil, want{"RolledBack", "default-before", "False RolloutRolledBack", "True RolloutFailing"}},
		"it has succeeded":          {other, in("Succeeded", "Succeeded"), nil, want{"Succeeded", target, "False AllNodesProgrammed", "False Healthy"}},
		"superseded":                {target, superseded, nil, want{"", target, "False AllNodesProgrammed", "False Healthy"}},
		"another ProxyConfig's":     {target, func(o *v1alpha1.ProxyRollout) { o.OwnerReferences[0].UID = "other" }, nil, want{"", target, "False AllNodesProgrammed", "False Healthy"}},
		"at once, and one is there": {target, in("Updating", ""), atOnce, want{"", target, "False AllNodesProgrammed", "False Healthy"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := config.DeepCopy()
			if c.change != nil {
				c.change(config)
			}
			var rollouts []v1alpha1.ProxyRollout
			if c.of != nil {
				o := v1alpha1.ProxyRollout{ObjectMeta: metav1.ObjectMeta{Name: target, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ControllerName},
					OwnerReferences: []metav1.OwnerReference{{UID: "uid", Controller: ptr.To(true)}}}}
				c.of(&o)
				rollouts = append(rollouts, o)
			}
			states := []nodeState{{name: "a", programmed: true, forwards: true, ready: true, revision: rollout.Node{Ready: true, Reported: true, Applied: c.runs}}}
			o := rolloutOf(config, rollouts)
			got := want{Stable: stable(input{config: config, rollout: o}, states)}
			if s := summary(o); s != nil {
				got.Rollout = s.Phase
			}
			text := func(c metav1.Condition) string { return string(c.Status) + " " + c.Reason }
			got.Progressing, got.Degraded = text(progressing(config, states, o)), text(degraded(states, o))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func superseded(o *v1alpha1.ProxyRollout) {
	apimeta.SetStatusCondition(&o.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionSuperseded, Status: metav1.ConditionTrue, Reason: "R"})
}
