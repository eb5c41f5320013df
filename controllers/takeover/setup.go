// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"context"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
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
	"github.com/fairlead-proxy/fairlead/rules/rollout"
	"github.com/fairlead-proxy/fairlead/rules/takeover"
)

// SetupWithManager adds the Reconciler to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	return ctrl.NewControllerManagedBy(mgr).Named("takeover").
		// Each ProxyConfig can name the DaemonSet of another.
		Watches(&v1alpha1.ProxyConfig{}, handler.EnqueueRequestsFromMapFunc(enqueue.AllConfigs(r.Client)),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.NodeRuleSet{}, handler.EnqueueRequestsFromMapFunc(policyOf), builder.WithPredicates(setChanged())).
		Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(enqueue.AllConfigs(r.Client)), builder.WithPredicates(labelChanged())).
		WithOptions(opts).
		Complete(r)
}

// policyOf returns the ProxyConfig of a NodeRuleSet, which may be gone.
func policyOf(_ context.Context, obj client.Object) []reconcile.Request {
	name := obj.(*v1alpha1.NodeRuleSet).Spec.Policy.Name
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: name}}}
}

// setChanged accepts updates of what the take-over depends on.
func setChanged() predicate.Predicate {
	type parts struct {
		policy           string
		action           v1alpha1.KubeProxyAction
		verified, failed bool
		programmed       bool
		replaced, given  bool
	}
	of := func(obj client.Object) parts {
		set := obj.(*v1alpha1.NodeRuleSet)
		since, failed := rollout.VerifiedSince(set)
		return parts{set.Spec.Policy.Name, set.Spec.KubeProxy, !since.IsZero(), failed,
			apimeta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionProgrammed),
			apimeta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced), takeover.HasGivenBack(set)}
	}
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !reflect.DeepEqual(of(e.ObjectOld), of(e.ObjectNew))
	}}
}

// labelChanged accepts updates of the label.
func labelChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
			isLabelled(e.ObjectOld.(*corev1.Node)) != isLabelled(e.ObjectNew.(*corev1.Node))
	}}
}
