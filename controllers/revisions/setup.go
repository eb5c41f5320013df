// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package revisions

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// SetupWithManager adds the Reconciler to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	return ctrl.NewControllerManagedBy(mgr).Named("revisions").
		Watches(&v1alpha1.ProxyConfig{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(configChanged())).
		Watches(&appsv1.ControllerRevision{}, handler.EnqueueRequestsFromMapFunc(owner)).
		Watches(&v1alpha1.ProxyRollout{}, handler.EnqueueRequestsFromMapFunc(owner), builder.WithPredicates(rolloutEnded())).
		Watches(&v1alpha1.NodeRuleSet{}, handler.EnqueueRequestsFromMapFunc(r.allConfigs), builder.WithPredicates(useChanged())).
		WithOptions(opts).
		Complete(r)
}

// configChanged accepts updates of the spec, and of the revision to return to.
func configChanged() predicate.Predicate {
	return predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*v1alpha1.ProxyConfig), e.ObjectNew.(*v1alpha1.ProxyConfig)
		return before.UID != after.UID || before.Status.StableRevision != after.Status.StableRevision
	}})
}

// useChanged accepts what can end the use of a revision.
func useChanged() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld.(*v1alpha1.NodeRuleSet), e.ObjectNew.(*v1alpha1.NodeRuleSet)
			return before.Spec.Revision != after.Spec.Revision || before.Status.AppliedRevision != after.Status.AppliedRevision
		},
	}
}

// rolloutEnded accepts what can end the use of the revisions of a rollout.
func rolloutEnded() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false }, // one that begins ends no use
		UpdateFunc: func(e event.UpdateEvent) bool {
			return ended(e.ObjectNew.(*v1alpha1.ProxyRollout)) && !ended(e.ObjectOld.(*v1alpha1.ProxyRollout))
		},
	}
}

// owner returns the ProxyConfig of a revision or rollout.
func owner(_ context.Context, obj client.Object) []reconcile.Request {
	owner := metav1.GetControllerOf(obj)
	if owner == nil || owner.Kind != "ProxyConfig" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: owner.Name}}}
}

// allConfigs returns every ProxyConfig.
func (r *Reconciler) allConfigs(ctx context.Context, _ client.Object) []reconcile.Request {
	var configs v1alpha1.ProxyConfigList
	if err := r.List(ctx, &configs, client.UnsafeDisableDeepCopy); err != nil {
		// Reading the cache fails only when the manager stops.
		log.FromContext(ctx).Error(err, "Failed to list ProxyConfigs from the cache")
		return nil
	}
	requests := make([]reconcile.Request, 0, len(configs.Items))
	for i := range configs.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&configs.Items[i])})
	}
	return requests
}
