// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"cmp"
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	apiac "github.com/fairlead-proxy/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
	"github.com/fairlead-proxy/fairlead/rules/takeover"
)

// obstacle is what keeps the controller from labelling nodes or changing the DaemonSet.
type obstacle struct{ reason, message string }

func notFound(o *v1alpha1.KubeProxyOptions) *obstacle {
	does := ": set spec.kubeProxy.daemonSet, or stop kube-proxy on the nodes"
	if !*o.TakeOver {
		does = ", so kube-proxy does not come back: create it, set spec.kubeProxy.daemonSet, or start kube-proxy on the nodes"
	}
	return &obstacle{v1alpha1.ReasonDaemonSetNotFound, fmt.Sprintf("There is no DaemonSet %s%s", o.DaemonSet, does)}
}

func forbidden(err error) *obstacle {
	return &obstacle{v1alpha1.ReasonMissingPermission,
		fmt.Sprintf("The controller has no permission: run `kubectl apply --server-side -k config/takeover`. The apiserver says: %v", err)}
}

func owned(ds *appsv1.DaemonSet, owner string) *obstacle {
	return &obstacle{v1alpha1.ReasonDaemonSetOwned, takeover.Advice(ds, owner)}
}

// skipped says which nodes kube-proxy would not come back to; nil: there are none.
func (s *state) skipped(ds *appsv1.DaemonSet, o *v1alpha1.KubeProxyOptions) *obstacle {
	if *o.TakeOver {
		return nil
	}
	var nodes []string
	var why string // of the first
	for _, set := range s.sets {
		if !takeover.AwaitsKubeProxy(set) {
			continue
		}
		if w := takeover.Skips(ds, s.nodes[set.Name]); w != "" {
			nodes, why = append(nodes, set.Name), cmp.Or(why, w)
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	message := fmt.Sprintf("kube-proxy does not come back to node %s, because DaemonSet %s %s. Or start kube-proxy on the node", nodes[0], o.DaemonSet, why)
	if len(nodes) > 1 {
		message += ". Nor does it come back to: " + some(nodes[1:])
	}
	return &obstacle{v1alpha1.ReasonDaemonSetSkipsNodes, message}
}

// report writes the condition of a ProxyConfig if it has changed.
func (r *Reconciler) report(ctx context.Context, s *state, stop *obstacle) error {
	if s.config == nil {
		return nil
	}
	before := apimeta.FindStatusCondition(s.config.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced)
	var now metav1.Condition
	var after []metav1.Condition
	if s.options() != nil {
		if before != nil {
			after = append(after, *before)
		}
		now = s.condition(stop)
		apimeta.SetStatusCondition(&after, now)
	}
	if len(after) == 0 && before == nil || len(after) > 0 && before != nil && apiequality.Semantic.DeepEqual(after[0], *before) {
		return nil
	}
	status, err := ssa.Convert[apiac.ProxyConfigStatusApplyConfiguration](v1alpha1.ProxyConfigStatus{Conditions: after})
	if err != nil {
		return err
	}
	// The UID prevents a write to a new object of the same name.
	intent := apiac.ProxyConfig(s.config.Name).WithStatus(status).WithUID(s.config.UID)
	if err := r.Status().Apply(ctx, intent, fieldOwner, client.ForceOwnership); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("apply status of ProxyConfig: %w", err)
	}
	if stop != nil && now.Reason == stop.reason && (before == nil || before.Reason != now.Reason) {
		r.Recorder.Eventf(s.config, nil, corev1.EventTypeWarning, stop.reason, "TakeOver", "%s", stop.message)
	}
	return nil
}

// condition returns how far the take-over is, or the giving back.
func (s *state) condition(stop *obstacle) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionKubeProxyReplaced, Status: metav1.ConditionFalse, ObservedGeneration: s.config.Generation}
	var pending, kept []string
	for _, set := range s.sets {
		since, _ := rollout.VerifiedSince(set)
		if !takeover.HasTakenOver(set, !since.IsZero()) {
			pending = append(pending, set.Name)
		}
		if isLabelled(s.nodes[set.Name]) || !takeover.HasGivenBack(set) {
			kept = append(kept, set.Name)
		}
	}
	switch {
	case !*s.options().TakeOver && len(kept) > 0 && stop == nil:
		c.Reason, c.Message = v1alpha1.ReasonGivingBack, "Not given back to kube-proxy yet: "+some(kept)
	case !*s.options().TakeOver && stop == nil:
		c.Reason, c.Message = v1alpha1.ReasonGivenBack, "kube-proxy serves all nodes"
	case len(s.sets) == 0 && stop == nil:
		c.Reason, c.Message = v1alpha1.ReasonNoNodes, "No node is selected"
	case stop != nil && (len(pending) > 0 || len(s.sets) == 0 || !*s.options().TakeOver):
		c.Reason, c.Message = stop.reason, stop.message
	case len(pending) > 0:
		c.Reason, c.Message = v1alpha1.ReasonNodesPending, "Not taken over from kube-proxy yet: "+some(pending)
	default:
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonReplaced
		c.Message = fmt.Sprintf("Neither kube-proxy nor its rules are on any of the nodes (%d)", len(s.sets))
	}
	return c
}

// some lists the first ten of many names.
func some(names []string) string { return rollout.FirstNames(names, 10) }
