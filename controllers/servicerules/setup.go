// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Indexes by the name of the Service, and by its addresses.
const (
	indexEndpointSliceService = "serviceName"
	indexSliceService         = "spec.serviceName"
	indexSliceAddress         = "addresses"
	indexServiceExternal      = "hasExternalIPs"
)

// Indexes calls add for every index that the Reconciler reads by.
func Indexes(add func(obj client.Object, field string, keys client.IndexerFunc) error) error {
	err := add(&discoveryv1.EndpointSlice{}, indexEndpointSliceService, func(obj client.Object) []string {
		if name := obj.GetLabels()[discoveryv1.LabelServiceName]; name != "" {
			return []string{name}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index EndpointSlices: %w", err)
	}
	err = add(&v1alpha1.ServiceRuleSlice{}, indexSliceService, func(obj client.Object) []string {
		return []string{serviceOf(obj).String()}
	})
	if err != nil {
		return fmt.Errorf("index ServiceRuleSlices by Service: %w", err)
	}
	err = add(&v1alpha1.ServiceRuleSlice{}, indexSliceAddress, func(obj client.Object) []string {
		spec := &obj.(*v1alpha1.ServiceRuleSlice).Spec
		if spec.Part != 0 {
			return nil // all parts have the same addresses
		}
		return compile.ClaimedAddresses(spec)
	})
	if err != nil {
		return fmt.Errorf("index ServiceRuleSlices by address: %w", err)
	}
	err = add(&corev1.Service{}, indexServiceExternal, func(obj client.Object) []string {
		if len(obj.(*corev1.Service).Spec.ExternalIPs) == 0 {
			return nil
		}
		return []string{"true"}
	})
	if err != nil {
		return fmt.Errorf("index Services with external IPs: %w", err)
	}
	return nil
}

// SetupWithManager adds the Reconciler to the manager.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, opts controller.Options) error {
	err := Indexes(func(obj client.Object, field string, keys client.IndexerFunc) error {
		return mgr.GetFieldIndexer().IndexField(ctx, obj, field, keys)
	})
	if err != nil {
		return err
	}
	exposed := handler.EnqueueRequestsFromMapFunc(r.exposedServices)
	return ctrl.NewControllerManagedBy(mgr).Named("servicerules").
		Watches(&corev1.Service{}, enqueue(client.ObjectKeyFromObject)).
		Watches(&discoveryv1.EndpointSlice{}, enqueue(labelledService)).
		// Each slice that exists at the start is an event, too: those of Services that were
		// deleted while no controller ran are found.
		Watches(&v1alpha1.ServiceRuleSlice{}, enqueue(serviceOf)).
		Watches(&corev1.Node{}, exposed, builder.WithPredicates(addressesChanged())).
		Watches(&v1alpha1.NodeRuleSet{}, exposed, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&discoveryv1.EndpointSlice{}, exposed, builder.WithPredicates(predicate.NewPredicateFuncs(isAPIServers))).
		WithOptions(opts).
		Complete(r)
}

// labelledService returns the Service that an EndpointSlice names in a label.
func labelledService(obj client.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetLabels()[discoveryv1.LabelServiceName]}
}

// serviceOf returns the Service that a ServiceRuleSlice names in its spec.
func serviceOf(obj client.Object) types.NamespacedName {
	spec := &obj.(*v1alpha1.ServiceRuleSlice).Spec
	return model.ServiceNameOf(spec)
}

// enqueue adds the Service of an object, and after a change also the Service
// that the object belonged to before.
func enqueue(service func(client.Object) types.NamespacedName) handler.EventHandler {
	add := func(q workqueue.TypedRateLimitingInterface[reconcile.Request], obj client.Object) {
		req := reconcile.Request{NamespacedName: service(obj)}
		if req.Name == "" {
			return
		}
		pq, ok := q.(priorityqueue.PriorityQueue[reconcile.Request])
		if !ok || !comesFirst(req.NamespacedName, obj) {
			q.Add(req)
			return
		}
		high := 100
		pq.AddWithOpts(priorityqueue.AddOpts{Priority: &high}, req)
	}
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(q, e.Object) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			add(q, e.ObjectOld)
			add(q, e.ObjectNew)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(q, e.Object) },
	}
}

// comesFirst is true for the two Services that all others depend on: the apiserver
// and DNS. EndpointSlices have their Service's labels.
func comesFirst(service types.NamespacedName, obj client.Object) bool {
	return service == model.APIServerService ||
		service.Namespace == "kube-system" && (service.Name == "kube-dns" || obj.GetLabels()["k8s-app"] == "kube-dns")
}
