// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	rules "github.com/fairlead-proxy/fairlead/rules/rollout"
)

// Progress is how far the nodes of a ProxyConfig are with its current policy.
type Progress struct {
	Message string
	// Ended says that nothing more happens by itself, and Succeeded that all nodes that are ready run
	// the policy.
	Ended, Succeeded bool
}

// ProgressOf reads how far the nodes of a ProxyConfig are.
func ProgressOf(ctx context.Context, api client.Reader, config types.NamespacedName) (Progress, error) {
	var policy v1alpha1.ProxyConfig
	if err := api.Get(ctx, config, &policy); err != nil {
		return Progress{}, fmt.Errorf("read the ProxyConfig: %w", err)
	}
	target := rules.RevisionOf(&policy).Name
	if rules.IsStaged(&policy) {
		var r v1alpha1.ProxyRollout
		err := api.Get(ctx, types.NamespacedName{Name: target}, &r)
		if err == nil && !apimeta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionSuperseded) {
			return staged(&r), nil
		}
		if client.IgnoreNotFound(err) != nil {
			return Progress{}, fmt.Errorf("read the ProxyRollout: %w", err)
		}
	}
	var nodes v1alpha1.NodeRuleSetList
	if err := api.List(ctx, &nodes); err != nil {
		return Progress{}, fmt.Errorf("list NodeRuleSets: %w", err)
	}
	return withoutRollout(config.Name, target, nodes.Items), nil
}

func staged(r *v1alpha1.ProxyRollout) Progress {
	out := Progress{Message: fmt.Sprintf("ProxyRollout %s: %s", r.Name, phase(r))}
	if c := apimeta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionProgressing); c != nil && c.Message != "" {
		out.Message += ", " + c.Message
	}
	switch r.Status.Verdict {
	case "":
	case v1alpha1.VerdictSucceeded:
		out.Ended, out.Succeeded = true, true
	default:
		out.Ended = r.Status.Phase != v1alpha1.RolloutRollingBack
	}
	return out
}

// withoutRollout is the progress where no rollout brings the policy: all nodes get it at once, they have it
// already, or the controller has not begun one yet.
func withoutRollout(config, target string, nodes []v1alpha1.NodeRuleSet) Progress {
	selected, waiting := 0, 0
	for i := range nodes {
		if n := &nodes[i]; n.Spec.Policy.Name == config {
			selected++
			if n.Status.AppliedRevision != target {
				waiting++
			}
		}
	}
	done := selected > 0 && waiting == 0
	return Progress{Ended: done, Succeeded: done,
		Message: fmt.Sprintf("ProxyConfig %s: %d of %d nodes run revision %s", config, selected-waiting, selected, target)}
}
