// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// cluster caches what Services with external IPs are compiled with, until a Node, a
// NodeRuleSet or the apiserver changes.
type cluster struct {
	mu      sync.Mutex
	version int
	known   *compile.Cluster // nil: out of date
}

func (c *cluster) outdate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	c.known = nil
}

// get returns what is known, or reads it.
func (c *cluster) get(ctx context.Context, from client.Reader) (*compile.Cluster, error) {
	c.mu.Lock()
	known, version := c.known, c.version
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	var nodes corev1.NodeList
	if err := from.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Nodes: %w", err)
	}
	var sets v1alpha1.NodeRuleSetList
	if err := from.List(ctx, &sets, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list NodeRuleSets: %w", err)
	}
	slice := &discoveryv1.EndpointSlice{}
	err := from.Get(ctx, model.APIServerService, slice)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get EndpointSlice %s: %w", model.APIServerService, err)
	}
	if err != nil {
		slice = nil
	}
	known = compile.NewCluster(nodes.Items, sets.Items, slice)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version == version { // else it changed while it was read
		c.known = known
	}
	return known, nil
}

// exposedServices returns the Services with external IPs, all of which depend on what has
// changed.
func (r *Reconciler) exposedServices(ctx context.Context, _ client.Object) []reconcile.Request {
	r.cluster.outdate()
	var services corev1.ServiceList
	err := r.List(ctx, &services, client.MatchingFields{indexServiceExternal: "true"}, client.UnsafeDisableDeepCopy)
	if err != nil {
		// Reading the cache fails only when the manager stops.
		log.FromContext(ctx).Error(err, "Failed to list Services from the cache")
		return nil
	}
	out := make([]reconcile.Request, len(services.Items))
	for i := range services.Items {
		out[i].NamespacedName = client.ObjectKeyFromObject(&services.Items[i])
	}
	return out
}

// addressesChanged accepts updates of Nodes that change their addresses or Pod CIDRs.
func addressesChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*corev1.Node), e.ObjectNew.(*corev1.Node)
		return !slices.Equal(before.Status.Addresses, after.Status.Addresses) || before.Spec.PodCIDR != after.Spec.PodCIDR ||
			!slices.Equal(before.Spec.PodCIDRs, after.Spec.PodCIDRs)
	}}
}

func isAPIServers(obj client.Object) bool {
	return client.ObjectKeyFromObject(obj) == model.APIServerService
}
