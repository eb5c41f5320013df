// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package install creates, upgrades and repairs the agent's DaemonSet. An
// operator bundle cannot contain a DaemonSet, so the controller creates it.
package install

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
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
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// +kubebuilder:rbac:groups=apps,namespace=system,resources=daemonsets,verbs=list;watch;create;patch

// Reconciler installs the agent. Without any ProxyConfig it neither creates nor
// changes agents: existing ones may still forward traffic.
type Reconciler struct {
	// Client reads from the cache and writes to the apiserver.
	client.Client

	// Recorder records failures on the ProxyConfigs.
	Recorder events.EventRecorder

	// Namespace is the namespace of the DaemonSet.
	Namespace string

	// Image is the agent's image.
	Image string

	// APIServers are the addresses of the apiserver for the agents. If empty, they
	// get the endpoints of default/kubernetes.
	APIServers []string
}

var _ reconcile.Reconciler = (*Reconciler)(nil)

// Reconcile applies the desired DaemonSet.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var configs v1alpha1.ProxyConfigList
	if err := r.List(ctx, &configs); err != nil {
		return ctrl.Result{}, fmt.Errorf("list ProxyConfigs: %w", err)
	}
	if len(configs.Items) == 0 {
		return ctrl.Result{}, nil
	}
	err := r.install(ctx)
	if err != nil && ctx.Err() == nil {
		for i := range configs.Items {
			r.Recorder.Eventf(&configs.Items[i], nil, corev1.EventTypeWarning, v1alpha1.EventAgentInstallFailed, "InstallAgent",
				"Failed to apply the agent's DaemonSet, will retry: %.900s", err)
		}
	}
	return ctrl.Result{}, err
}

func (r *Reconciler) install(ctx context.Context) error {
	apiservers := r.APIServers
	if len(apiservers) == 0 {
		var err error
		if apiservers, err = r.discover(ctx); err != nil {
			return err
		}
	}
	intent, err := manifest(r.Namespace, r.Image, apiservers)
	if err != nil {
		return err
	}
	// Applying an unchanged intent does not change the object.
	if err := r.Apply(ctx, intent, ssa.FieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply DaemonSet %s/%s: %w", r.Namespace, Name, err)
	}
	return nil
}

func (r *Reconciler) discover(ctx context.Context) ([]string, error) {
	var list discoveryv1.EndpointSliceList
	err := r.List(ctx, &list, client.InNamespace(model.APIServerService.Namespace),
		client.MatchingLabels{discoveryv1.LabelServiceName: model.APIServerService.Name})
	if err != nil {
		return nil, fmt.Errorf("list EndpointSlices of default/kubernetes: %w", err)
	}
	found := addressesOf(list.Items)
	if len(found) == 0 {
		return nil, errors.New("default/kubernetes has no endpoints; set the apiserver's addresses with the controller's flag --apiserver")
	}
	current := &appsv1.DaemonSet{}
	err = r.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: Name}, current)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get DaemonSet %s/%s: %w", r.Namespace, Name, err)
	}
	return settle(current, found), nil
}

// SetupWithManager adds the Reconciler to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	theOne := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: r.Namespace, Name: Name}}}
	})
	isAgent := predicate.NewPredicateFuncs(func(obj client.Object) bool {
		return obj.GetNamespace() == r.Namespace && obj.GetName() == Name
	})
	isAPIServer := predicate.NewPredicateFuncs(func(obj client.Object) bool {
		return client.ObjectKeyFromObject(obj) == model.APIServerService
	})
	specChanged := predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{})
	return ctrl.NewControllerManagedBy(mgr).Named("install").
		Watches(&v1alpha1.ProxyConfig{}, theOne, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&appsv1.DaemonSet{}, theOne, builder.WithPredicates(isAgent, specChanged)).
		Watches(&discoveryv1.EndpointSlice{}, theOne, builder.WithPredicates(isAPIServer)).
		WithOptions(opts).
		Complete(r)
}
