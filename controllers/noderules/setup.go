// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package noderules

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
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
	"github.com/fairlead-proxy/fairlead/rules/compile"
)

// SetupWithManager adds the Reconciler to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	specChanged := builder.WithPredicates(specChanged())
	return ctrl.NewControllerManagedBy(mgr).Named("noderules").
		Watches(&corev1.Node{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(factsChanged())).
		Watches(&v1alpha1.NodeRuleSet{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(setChanged())).
		Watches(&v1alpha1.ProxyConfig{}, handler.EnqueueRequestsFromMapFunc(r.allNodes), specChanged).
		WatchesRawSource(r.watchServiceCIDRs(mgr)).
		WithOptions(opts).
		Complete(r)
}

// specChanged ignores updates of the status.
func specChanged() predicate.Predicate {
	return predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{})
}

// setChanged accepts updates of NodeRuleSets but for those of the status by agents, unless
// the node is cleaned up.
func setChanged() predicate.Predicate {
	return predicate.Or(specChanged(), predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return isCleanedUp(e.ObjectNew.(*v1alpha1.NodeRuleSet))
	}})
}

// factsChanged accepts updates of Nodes that a NodeRuleSet depends on.
func factsChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*corev1.Node), e.ObjectNew.(*corev1.Node)
		return before.UID != after.UID ||
			!maps.Equal(before.Labels, after.Labels) ||
			compile.IsDeparting(before) != compile.IsDeparting(after) ||
			!slices.Equal(before.Spec.PodCIDRs, after.Spec.PodCIDRs) ||
			!slices.Equal(before.Status.Addresses, after.Status.Addresses)
	}}
}

// allNodes returns every node, and every NodeRuleSet without a node.
func (r *Reconciler) allNodes(ctx context.Context, _ client.Object) []reconcile.Request {
	var nodes corev1.NodeList
	var sets v1alpha1.NodeRuleSetList
	for _, list := range []client.ObjectList{&nodes, &sets} {
		if err := r.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			// Reading the cache fails only when the manager stops.
			log.FromContext(ctx).Error(err, "Failed to list from the cache")
			return nil
		}
	}
	names := map[string]bool{}
	for i := range nodes.Items {
		names[nodes.Items[i].Name] = true
	}
	for i := range sets.Items {
		names[sets.Items[i].Name] = true
	}
	requests := make([]reconcile.Request, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKey{Name: name}})
	}
	return requests
}
