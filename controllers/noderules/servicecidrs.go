// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package noderules

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// +kubebuilder:rbac:groups=networking.k8s.io,resources=servicecidrs,verbs=list;watch

// servedInterval is how often a cluster without the ServiceCIDR API is checked
// again: it may be upgraded.
const servedInterval = time.Minute

// serviceCIDRs lists the ServiceCIDRs of the cluster; none if it does not serve
// the kind.
func serviceCIDRs(ctx context.Context, from client.Reader) ([]networkingv1.ServiceCIDR, error) {
	var list networkingv1.ServiceCIDRList
	err := from.List(ctx, &list)
	var notWatched *cache.ErrResourceNotCached
	if errors.As(err, &notWatched) || apimeta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list ServiceCIDRs: %w", err)
	}
	return list.Items, nil
}

// rangesChanged accepts updates of ServiceCIDRs that change their ranges.
func rangesChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*networkingv1.ServiceCIDR), e.ObjectNew.(*networkingv1.ServiceCIDR)
		return !slices.Equal(before.Spec.CIDRs, after.Spec.CIDRs)
	}}
}

// watchServiceCIDRs returns the source that reconciles all nodes.
func (r *Reconciler) watchServiceCIDRs(mgr ctrl.Manager) source.SyncingSource {
	kind := networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR")
	return &optionalKind{
		SyncingSource: source.Kind[client.Object](mgr.GetCache(), &networkingv1.ServiceCIDR{},
			handler.EnqueueRequestsFromMapFunc(r.allNodes), rangesChanged()),
		served: func() error {
			_, err := mgr.GetRESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
			return err
		},
		decided: make(chan error, 1),
	}
}

// optionalKind is a source of events of a kind that the cluster may not serve
// (ServiceCIDRs exist since Kubernetes 1.33). An ordinary source would keep its
// controller from starting there.
type optionalKind struct {
	source.SyncingSource

	// served returns a NoMatch error if the cluster does not serve the kind.
	served func() error
	// decided receives the result of the first check: nil if the source has started.
	decided chan error
}

var errNotServed = errors.New("the cluster does not serve the kind")

// Start starts the watch as soon as the cluster serves the kind.
func (s *optionalKind) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	go s.run(ctx, queue)
	return nil
}

func (s *optionalKind) run(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	for {
		err, again := s.served(), time.Second
		switch {
		case err == nil:
			s.decide(s.SyncingSource.Start(ctx, queue))
			return
		case apimeta.IsNoMatchError(err):
			again = servedInterval
			s.decide(errNotServed)
		default:
			log.FromContext(ctx).Error(err, "Failed to check whether the cluster serves ServiceCIDRs, will retry")
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(again):
		}
	}
}

// decide sends the result of the first check to WaitForSync.
func (s *optionalKind) decide(err error) {
	select {
	case s.decided <- err:
	default:
	}
}

// WaitForSync waits until the objects are in the cache, if there are any.
func (s *optionalKind) WaitForSync(ctx context.Context) error {
	select {
	case err := <-s.decided:
		if errors.Is(err, errNotServed) {
			log.FromContext(ctx).Info("The cluster does not serve ServiceCIDRs: unallocated ClusterIPs are not dropped")
			return nil
		}
		if err != nil {
			return err
		}
		return s.SyncingSource.WaitForSync(ctx)
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil // the manager stops
		}
		return fmt.Errorf("check whether the cluster serves ServiceCIDRs: %w", ctx.Err())
	}
}
