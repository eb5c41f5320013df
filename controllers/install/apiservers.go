// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// apply, also of a new object: RBAC knows its name.
// +kubebuilder:rbac:groups="",namespace=system,resources=configmaps,resourceNames=fairlead-agent,verbs=create;patch

// KeyAPIServers is the key of the ConfigMap that has the addresses, separated by commas.
const KeyAPIServers = "apiservers"

// repairInterval is how often the ConfigMap is written again, in case it was changed: new
// agents wait for it.
const repairInterval = time.Minute

// APIServers writes the addresses of the apiservers into the ConfigMap that new agents read.
// Running agents learn them from the Service, so a change restarts none.
type APIServers struct {
	// Client reads from the cache and writes to the apiserver.
	client.Client

	// Recorder records failures on the ProxyConfigs.
	Recorder events.EventRecorder

	// Namespace is the namespace of the agents.
	Namespace string

	// Configured are the addresses. If empty, they are the endpoints of default/kubernetes.
	Configured []string
}

var _ reconcile.Reconciler = (*APIServers)(nil)

// Reconcile applies the ConfigMap.
func (r *APIServers) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	err := r.apply(ctx)
	if err == nil {
		return ctrl.Result{RequeueAfter: repairInterval}, nil
	}
	var configs v1alpha1.ProxyConfigList
	if listErr := r.List(ctx, &configs); listErr != nil {
		err = errors.Join(err, fmt.Errorf("list ProxyConfigs: %w", listErr))
	}
	if ctx.Err() == nil {
		report(r.Recorder, configs.Items, "Failed to write the apiserver's addresses for the agents", err)
	}
	return ctrl.Result{}, err
}

func (r *APIServers) apply(ctx context.Context) error {
	addresses := r.Configured
	if len(addresses) == 0 {
		var err error
		if addresses, err = r.discover(ctx); err != nil {
			return err
		}
	}
	intent := corev1ac.ConfigMap(Name, r.Namespace).
		WithLabels(map[string]string{"app.kubernetes.io/name": "fairlead", v1alpha1.LabelManagedBy: v1alpha1.ControllerName}).
		WithData(map[string]string{KeyAPIServers: strings.Join(addresses, ",")})
	if err := r.Apply(ctx, intent, ssa.FieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply ConfigMap %s/%s: %w", r.Namespace, Name, err)
	}
	return nil
}

func (r *APIServers) discover(ctx context.Context) ([]string, error) {
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
	return found, nil
}

// addressesOf returns the addresses in the EndpointSlice of the apiservers, sorted. One that
// stops removes its own.
func addressesOf(endpointSlices []discoveryv1.EndpointSlice) []string {
	var out []string
	for _, s := range endpointSlices {
		if s.Name != model.APIServerService.Name {
			continue
		}
		for _, p := range s.Ports {
			if p.Port == nil {
				continue
			}
			for _, e := range s.Endpoints {
				if e.Conditions.Ready != nil && !*e.Conditions.Ready {
					continue
				}
				for _, a := range e.Addresses {
					out = append(out, "https://"+net.JoinHostPort(a, strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// SetupWithManager adds the reconciler to the manager.
func (r *APIServers) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	isAPIServer := predicate.NewPredicateFuncs(func(obj client.Object) bool {
		return client.ObjectKeyFromObject(obj) == model.APIServerService
	})
	return ctrl.NewControllerManagedBy(mgr).Named("apiservers").
		Watches(&discoveryv1.EndpointSlice{}, theOne(r.Namespace), builder.WithPredicates(isAPIServer)).
		// The apiservers may be configured not to write that one.
		Watches(&v1alpha1.ProxyConfig{}, theOne(r.Namespace), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(opts).
		Complete(r)
}
