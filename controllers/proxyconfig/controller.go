// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package proxyconfig aggregates the status of the nodes in the status of each
// ProxyConfig.
package proxyconfig

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	apiac "github.com/fairlead-proxy/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/enqueue"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
)

// delay combines the reports of many nodes into one write.
const delay = 200 * time.Millisecond

// +kubebuilder:rbac:groups=proxy.fairlead.dev,resources=proxyconfigs/status,verbs=patch
// +kubebuilder:rbac:groups=proxy.fairlead.dev,resources=nodeheartbeats,verbs=list;watch

// Reconciler writes the status of a ProxyConfig.
type Reconciler struct {
	client.Client
	clock      clock.PassiveClock
	patience   time.Duration
	heartbeats heartbeats
	protection protection // one worker uses it
}

// New returns a Reconciler that reads from the client's cache, except admission policies, and writes
// to the apiserver. An agent that has not reported for as long as patience, on a node that is ready,
// is not ready.
func New(c client.Client, live client.Reader, clk clock.PassiveClock, patience time.Duration) *Reconciler {
	return &Reconciler{Client: c, clock: clk, patience: patience, protection: protection{live: live}}
}

var _ reconcile.Reconciler = (*Reconciler)(nil)

// Reconcile writes the status of one ProxyConfig if it has changed.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	in := input{sets: map[string]*v1alpha1.NodeRuleSet{}, renewed: r.heartbeats.all(), now: r.clock.Now(), patience: r.patience}
	var configs v1alpha1.ProxyConfigList
	if err := r.List(ctx, &configs); err != nil {
		return ctrl.Result{}, fmt.Errorf("list ProxyConfigs: %w", err)
	}
	in.configs = configs.Items
	for i := range in.configs {
		if in.configs[i].Name == req.Name {
			in.config = &in.configs[i]
		}
	}
	if in.config == nil {
		return ctrl.Result{}, nil
	}
	// controllers/takeover writes this one.
	apimeta.RemoveStatusCondition(&in.config.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced)
	var nodeList corev1.NodeList
	if err := r.List(ctx, &nodeList, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list Nodes: %w", err)
	}
	for i := range nodeList.Items {
		in.nodes = append(in.nodes, &nodeList.Items[i])
	}
	var sets v1alpha1.NodeRuleSetList
	if err := r.List(ctx, &sets, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list NodeRuleSets: %w", err)
	}
	for i := range sets.Items {
		in.sets[sets.Items[i].Name] = &sets.Items[i]
	}
	var rollouts v1alpha1.ProxyRolloutList
	if err := r.List(ctx, &rollouts); err != nil {
		return ctrl.Result{}, fmt.Errorf("list ProxyRollouts: %w", err)
	}
	in.rollout = rolloutOf(in.config, rollouts.Items)
	var again time.Duration
	in.protected, again = r.protection.at(ctx, in.now)
	status, silent := computeStatus(in)
	if silent > 0 {
		again = min(again, silent)
	}
	result := ctrl.Result{RequeueAfter: again}
	if apiequality.Semantic.DeepEqual(status, in.config.Status) {
		return result, nil
	}
	statusIntent, err := ssa.Convert[apiac.ProxyConfigStatusApplyConfiguration](status)
	if err != nil {
		return ctrl.Result{}, err
	}
	intent := apiac.ProxyConfig(req.Name).WithStatus(statusIntent)
	// The UID prevents a write to a new object of the same name.
	intent.WithUID(in.config.UID)
	err = r.Status().Apply(ctx, intent, ssa.FieldOwner, client.ForceOwnership)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("apply status of ProxyConfig: %w", err)
	}
	return result, nil
}

// SetupWithManager adds the Reconciler to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	return ctrl.NewControllerManagedBy(mgr).Named("proxyconfig").
		// Each ProxyConfig can change which nodes the others have.
		Watches(&v1alpha1.ProxyConfig{}, r.enqueueAll(0)).
		Watches(&v1alpha1.NodeRuleSet{}, r.enqueueAll(delay)).
		Watches(&v1alpha1.ProxyRollout{}, r.enqueueAll(delay)).
		Watches(&corev1.Node{}, r.enqueueAll(delay), builder.WithPredicates(nodeChanged())).
		Watches(&v1alpha1.NodeHeartbeat{}, r.noteHeartbeats()).
		WithOptions(opts).
		Complete(r)
}

func nodeChanged() predicate.Predicate {
	return predicate.Or[client.Object](predicate.LabelChangedPredicate{},
		predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
			return isReady(e.ObjectOld.(*corev1.Node)) != isReady(e.ObjectNew.(*corev1.Node))
		}})
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// enqueueAll reconciles all ProxyConfigs after any change.
func (r *Reconciler) enqueueAll(after time.Duration) handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, _ event.CreateEvent, q queue) { r.addAll(ctx, q, after) },
		UpdateFunc: func(ctx context.Context, _ event.UpdateEvent, q queue) { r.addAll(ctx, q, after) },
		DeleteFunc: func(ctx context.Context, _ event.DeleteEvent, q queue) { r.addAll(ctx, q, after) },
	}
}

// noteHeartbeats reconciles all ProxyConfigs when an agent reports again that was not ready,
// and not for the other renewals, of which there are many.
func (r *Reconciler) noteHeartbeats() handler.EventHandler {
	note := func(ctx context.Context, before *v1alpha1.NodeHeartbeat, now client.Object, q queue) {
		beat := now.(*v1alpha1.NodeHeartbeat)
		at := r.clock.Now()
		if previous := r.heartbeats.renewed(before, beat, at); at.Sub(previous) >= r.patience {
			r.addAll(ctx, q, delay)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { note(ctx, nil, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			note(ctx, e.ObjectOld.(*v1alpha1.NodeHeartbeat), e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			r.heartbeats.deleted(e.Object.GetName())
			r.addAll(ctx, q, delay)
		},
	}
}

func (r *Reconciler) addAll(ctx context.Context, q queue, after time.Duration) {
	for _, request := range enqueue.AllConfigs(r.Client)(ctx, nil) {
		q.AddAfter(request, after)
	}
}
