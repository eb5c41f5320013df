// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package install has what the controller does for the agents themselves: it writes where
// the apiserver is, and creates, upgrades and repairs the DaemonSet where OLM has installed
// the controller, because a bundle cannot contain one.
package install

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
)

// DaemonSet installs the agent. Without any ProxyConfig it neither creates nor changes
// agents: existing ones may still forward traffic. Only OLM's bundle grants the rights for
// it (config/manifests).
type DaemonSet struct {
	// Client reads from the cache and writes to the apiserver.
	client.Client

	// Recorder records failures on the ProxyConfigs.
	Recorder events.EventRecorder

	// Namespace is the namespace of the DaemonSet.
	Namespace string

	// Image is the agent's image.
	Image string
}

var _ reconcile.Reconciler = (*DaemonSet)(nil)

// Reconcile applies the desired DaemonSet.
func (r *DaemonSet) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var configs v1alpha1.ProxyConfigList
	if err := r.List(ctx, &configs); err != nil {
		return ctrl.Result{}, fmt.Errorf("list ProxyConfigs: %w", err)
	}
	if len(configs.Items) == 0 {
		return ctrl.Result{}, nil
	}
	err := r.apply(ctx)
	if err != nil && ctx.Err() == nil {
		report(r.Recorder, configs.Items, "Failed to apply the agent's DaemonSet", err)
	}
	return ctrl.Result{}, err
}

func (r *DaemonSet) apply(ctx context.Context) error {
	intent, err := manifest(r.Namespace, r.Image)
	if err != nil {
		return err
	}
	// Applying an unchanged intent does not change the object.
	if err := r.Apply(ctx, intent, ssa.FieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply DaemonSet %s/%s: %w", r.Namespace, Name, err)
	}
	return nil
}

// SetupWithManager adds the reconciler to the manager.
func (r *DaemonSet) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	isAgent := predicate.NewPredicateFuncs(func(obj client.Object) bool {
		return obj.GetNamespace() == r.Namespace && obj.GetName() == Name
	})
	specChanged := predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{})
	return ctrl.NewControllerManagedBy(mgr).Named("daemonset").
		Watches(&v1alpha1.ProxyConfig{}, theOne(r.Namespace), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&appsv1.DaemonSet{}, theOne(r.Namespace), builder.WithPredicates(isAgent, specChanged)).
		WithOptions(opts).
		Complete(r)
}

// theOne requests the one object of this name, whatever has changed.
func theOne(namespace string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: namespace, Name: Name}}}
	})
}

// report writes a failure on all policies.
func report(recorder events.EventRecorder, configs []v1alpha1.ProxyConfig, failure string, err error) {
	for i := range configs {
		recorder.Eventf(&configs[i], nil, corev1.EventTypeWarning, v1alpha1.EventAgentInstallFailed, "InstallAgent",
			"%s, will retry: %.900s", failure, err)
	}
}
