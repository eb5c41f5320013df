// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package noderules

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// departure is what to do next with the NodeRuleSet of a node that no ProxyConfig selects.
type departure struct {
	ask    bool          // the agent to clean up the node
	wait   time.Duration // for the agent; 0: delete the NodeRuleSet now
	silent bool          // the agent has not reported in time
}

// departureOf decides. The times are in the NodeRuleSet, so a restarted controller decides
// the same. There is no finalizer: an uninstallation deletes the controller, too, and
// nothing would remove it.
func departureOf(set *v1alpha1.NodeRuleSet, now time.Time, patience time.Duration) departure {
	since := set.Spec.CleanUpSince
	switch {
	case since == nil && set.Spec.DeletionPolicy == v1alpha1.DeletionCleanup:
		return departure{ask: true, wait: patience}
	case since == nil || isCleanedUp(set):
		return departure{}
	}
	// A time in the future is that of another clock: it is waited for as if it was now.
	if wait := min(since.Add(patience).Sub(now), patience); wait > 0 {
		return departure{wait: wait}
	}
	return departure{silent: true}
}

// isCleanedUp says whether the agent has removed what it had programmed, and still does not
// program anything.
func isCleanedUp(set *v1alpha1.NodeRuleSet) bool {
	c := apimeta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionProgrammed)
	return c != nil && c.Reason == v1alpha1.ReasonCleanedUp && c.ObservedGeneration == set.Generation
}

// remove deletes the NodeRuleSet of a node that does not exist or that no ProxyConfig
// selects, after a check with the apiserver. The agent of a node that exists cleans it up
// first, if the last policy says so.
func (r *Reconciler) remove(ctx context.Context, name string, current *v1alpha1.NodeRuleSet) (ctrl.Result, error) {
	if current == nil || current.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ControllerName {
		return ctrl.Result{}, nil
	}
	node, config, err := selectFrom(ctx, r.Live, name)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("check the apiserver before deleting the NodeRuleSet: %w", err)
	}
	if config != nil {
		return ctrl.Result{}, errStale
	}
	if node != nil {
		next := departureOf(current, r.Clock.Now(), r.Patience)
		switch {
		case next.ask:
			spec := *current.Spec.DeepCopy()
			if spec.KubeProxy == v1alpha1.KubeProxyTakeOver {
				spec.KubeProxy = v1alpha1.KubeProxyGiveBack // the node would have no proxy at all
			}
			spec.CleanUpSince = &metav1.Time{Time: r.Clock.Now()}
			return ctrl.Result{RequeueAfter: next.wait}, r.apply(ctx, node, spec)
		case next.wait > 0:
			return ctrl.Result{RequeueAfter: next.wait}, nil
		case next.silent:
			r.Recorder.Eventf(node, nil, corev1.EventTypeWarning, v1alpha1.EventNotCleanedUp, "CleanUp",
				"The agent has not reported within %s that it has removed what it has programmed. "+
					"Run `fairlead-agent --cleanup` on the node, or reboot it.", r.Patience)
		}
	}
	err = r.Delete(ctx, current, client.Preconditions{UID: &current.UID})
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("delete NodeRuleSet: %w", err)
	}
	return ctrl.Result{}, nil
}
