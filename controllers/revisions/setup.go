// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package revisions

import (
	appsv1 "k8s.io/api/apps/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/enqueue"
)

// SetupWithManager adds the Reconciler to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	return ctrl.NewControllerManagedBy(mgr).Named("revisions").
		Watches(&v1alpha1.ProxyConfig{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(configChanged())).
		Watches(&appsv1.ControllerRevision{}, handler.EnqueueRequestsFromMapFunc(enqueue.Owner)).
		Watches(&v1alpha1.ProxyRollout{}, handler.EnqueueRequestsFromMapFunc(enqueue.Owner), builder.WithPredicates(rolloutEnded())).
		Watches(&v1alpha1.NodeRuleSet{}, handler.EnqueueRequestsFromMapFunc(enqueue.AllConfigs(r.Client)), builder.WithPredicates(useChanged())).
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
