// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/enqueue"
)

// SetupWithManager adds the Reconciler to the manager. Heartbeats trigger nothing: a rollout that
// proceeds is looked at often enough.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	return ctrl.NewControllerManagedBy(mgr).Named("rollouts").
		Watches(&v1alpha1.ProxyConfig{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.ProxyRollout{}, handler.EnqueueRequestsFromMapFunc(enqueue.Owner)).
		Watches(&appsv1.ControllerRevision{}, handler.EnqueueRequestsFromMapFunc(enqueue.Owner)).
		Watches(&v1alpha1.NodeRuleSet{}, handler.EnqueueRequestsFromMapFunc(policyOf)).
		Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(enqueue.AllConfigs(r.Client)), builder.WithPredicates(nodeChanged())).
		WithOptions(opts).
		Complete(r)
}

// policyOf returns the ProxyConfig of a NodeRuleSet.
func policyOf(_ context.Context, obj client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: obj.(*v1alpha1.NodeRuleSet).Spec.Policy.Name}}}
}

// nodeChanged accepts changes of labels, and of whether a node is ready.
func nodeChanged() predicate.Predicate {
	ready := func(obj client.Object) corev1.ConditionStatus {
		for _, c := range obj.(*corev1.Node).Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c.Status
			}
		}
		return corev1.ConditionUnknown
	}
	return predicate.Or[client.Object](predicate.LabelChangedPredicate{}, predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return ready(e.ObjectOld) != ready(e.ObjectNew) },
	})
}
