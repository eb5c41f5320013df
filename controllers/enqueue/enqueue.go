// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package enqueue says which ProxyConfigs are to be reconciled because of another object.
package enqueue

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Owner returns the ProxyConfig that owns an object.
func Owner(_ context.Context, obj client.Object) []reconcile.Request {
	owner := metav1.GetControllerOf(obj)
	if owner == nil || owner.Kind != "ProxyConfig" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: owner.Name}}}
}

// AllConfigs returns every ProxyConfig in the cache, whatever the object.
func AllConfigs(cache client.Reader) handler.MapFunc {
	return func(ctx context.Context, _ client.Object) []reconcile.Request {
		var configs v1alpha1.ProxyConfigList
		if err := cache.List(ctx, &configs, client.UnsafeDisableDeepCopy); err != nil {
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
}
