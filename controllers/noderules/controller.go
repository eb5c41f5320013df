// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package noderules writes the NodeRuleSet of every node that a ProxyConfig
// selects.
package noderules

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	apiac "github.com/fairlead-proxy/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=proxy.fairlead.dev,resources=proxyconfigs,verbs=list;watch
// +kubebuilder:rbac:groups=proxy.fairlead.dev,resources=noderulesets,verbs=list;watch;create;patch;delete

// Reconciler writes the NodeRuleSet of a node. If no ProxyConfig selects the node
// any more, it deletes the NodeRuleSet; the agent keeps the programmed rules, so
// deleting a policy by mistake does not interrupt traffic. With the deletion policy
// Cleanup it first waits until the agent has removed them, see departure.
type Reconciler struct {
	// Client reads from the cache and writes to the apiserver.
	client.Client

	// Live reads from the apiserver, before a NodeRuleSet is deleted.
	Live client.Reader

	// Recorder records events on Nodes.
	Recorder events.EventRecorder

	// Clock is the time that counts for Patience.
	Clock clock.PassiveClock

	// Namespace is the controller's. It has the revisions.
	Namespace string

	// Patience is how long an agent may take to clean up its node.
	Patience time.Duration
}

var _ reconcile.Reconciler = (*Reconciler)(nil)

// errStale is returned, and the request retried, while the cache is behind the
// apiserver.
var errStale = errors.New("the cache does not have the Node or ProxyConfig that the apiserver has; the NodeRuleSet is kept")

// Reconcile applies or deletes the NodeRuleSet of one node.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	current := &v1alpha1.NodeRuleSet{}
	err := r.Get(ctx, req.NamespacedName, current)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("get NodeRuleSet: %w", err)
	}
	if err != nil {
		current = nil
	}
	node, config, err := selectFrom(ctx, r.Client, req.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	if config == nil {
		return r.remove(ctx, req.Name, current)
	}
	cidrs, err := serviceCIDRs(ctx, r.Client)
	if err != nil {
		return ctrl.Result{}, err
	}
	in, err := r.input(ctx, node, config, current)
	if err != nil {
		return ctrl.Result{}, err
	}
	in.ServiceCIDRs = cidrs
	spec, problems := compile.Node(in)
	if current != nil && ssa.IsOurs(current, node) && apiequality.Semantic.DeepEqual(current.Spec, spec) {
		return ctrl.Result{}, nil
	}
	for _, p := range problems {
		r.Recorder.Eventf(node, nil, corev1.EventTypeWarning, v1alpha1.EventNodeFactSkipped, "CompileRules", "%s: %s", p.Object, p.Message)
	}
	write := r.apply
	if rollout.IsStaged(config) {
		write = r.applyTo(current)
	}
	if err := write(ctx, node, spec); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: ssa.LookAgain}, nil
}

// apply writes the NodeRuleSet of a node.
func (r *Reconciler) apply(ctx context.Context, node *corev1.Node, spec v1alpha1.NodeRuleSetSpec) error {
	intent, err := intentOf(node, spec)
	if err != nil {
		return err
	}
	if err := r.Apply(ctx, intent, ssa.FieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply NodeRuleSet: %w", err)
	}
	return nil
}

// intentOf returns what the controller wants of a NodeRuleSet.
func intentOf(node *corev1.Node, spec v1alpha1.NodeRuleSetSpec) (*apiac.NodeRuleSetApplyConfiguration, error) {
	specIntent, err := ssa.Convert[apiac.NodeRuleSetSpecApplyConfiguration](spec)
	if err != nil {
		return nil, err
	}
	return apiac.NodeRuleSet(node.Name).
		WithLabels(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ControllerName}).
		WithOwnerReferences(ssa.Owner("v1", "Node", node)).
		WithSpec(specIntent), nil
}

// selectFrom returns a node and its effective ProxyConfig; nil: the node does not exist,
// or no ProxyConfig selects it. It fails if the reason could be a ProxyConfig with an
// invalid selector.
func selectFrom(ctx context.Context, from client.Reader, name string) (*corev1.Node, *v1alpha1.ProxyConfig, error) {
	node := &corev1.Node{}
	if err := from.Get(ctx, client.ObjectKey{Name: name}, node); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, nil, nil
		}
		return nil, nil, fmt.Errorf("get Node: %w", err)
	}
	var configs v1alpha1.ProxyConfigList
	if err := from.List(ctx, &configs); err != nil {
		return nil, nil, fmt.Errorf("list ProxyConfigs: %w", err)
	}
	config, _, err := compile.SelectConfig(node, configs.Items)
	if config != nil {
		// Invalid ones are reported in their own status.
		return node, config, nil
	}
	return node, nil, err
}
