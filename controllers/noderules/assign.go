// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package noderules

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// +kubebuilder:rbac:groups=apps,namespace=system,resources=controllerrevisions,verbs=list;watch

// input returns what to compile for a node, but for the ServiceCIDRs. A revision that is
// missing or altered holds up nothing: the node keeps the policy that it has, and a new one
// gets the current one.
func (r *Reconciler) input(ctx context.Context, node *corev1.Node, config *v1alpha1.ProxyConfig, current *v1alpha1.NodeRuleSet) (compile.NodeInput, error) {
	in := compile.NodeInput{Node: node}
	in.Revision, in.AssignedTime = rollout.Assigned(config, current, r.Clock.Now())
	in.Checks = rollout.Checks(config, current, in.Revision)
	var problem, err error
	if in.Config, problem, err = r.revision(ctx, config, in.Revision); err != nil || problem == nil {
		return in, err
	}
	r.Recorder.Eventf(config, node, corev1.EventTypeWarning, v1alpha1.EventRevisionUnusable, "CompileRules",
		"The revision %s of node %s cannot be used: %v", in.Revision, node.Name, problem)
	if in.Config = config; current != nil && current.Spec.Revision == in.Revision {
		in.Config = rollout.Kept(config, current.Spec)
	} else {
		in.Revision = rollout.RevisionOf(config).Name
	}
	return in, nil
}

// revision returns a ProxyConfig with the policy of one of its revisions, or what is wrong with it.
func (r *Reconciler) revision(ctx context.Context, config *v1alpha1.ProxyConfig, name string) (policy *v1alpha1.ProxyConfig, problem, err error) {
	if name == rollout.RevisionOf(config).Name {
		return config, nil, nil
	}
	stored := &appsv1.ControllerRevision{}
	err = r.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, stored)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return nil, nil, fmt.Errorf("get ControllerRevision: %w", err)
	case err != nil:
		return nil, err, nil
	case !ssa.IsOurs(stored, config):
		return nil, fmt.Errorf("the ControllerRevision is not of the ProxyConfig %s", config.Name), nil
	}
	policy, problem = rollout.Restore(config, name, stored.Data.Raw)
	return policy, problem, nil
}

// Usable returns what is wrong with a revision of a ProxyConfig; nil: nodes can be given it.
func (r *Reconciler) Usable(ctx context.Context, config *v1alpha1.ProxyConfig, revision string) (problem, err error) {
	_, problem, err = r.revision(ctx, config, revision)
	return problem, err
}

// Assign gives a node a revision of its ProxyConfig. It fails if the NodeRuleSet is not current any
// more: then the decision is not valid either.
func (r *Reconciler) Assign(ctx context.Context, node *corev1.Node, config *v1alpha1.ProxyConfig, current *v1alpha1.NodeRuleSet,
	revision string, since metav1.Time) error {
	policy, problem, err := r.revision(ctx, config, revision)
	if err := errors.Join(err, problem); err != nil {
		return fmt.Errorf("revision %s of node %s: %w", revision, node.Name, err)
	}
	cidrs, err := serviceCIDRs(ctx, r.Client)
	if err != nil {
		return err
	}
	spec, _ := compile.Node(compile.NodeInput{Node: node, Config: policy, Revision: revision, AssignedTime: &since,
		Checks: rollout.Checks(config, current, revision), ServiceCIDRs: cidrs})
	return r.applyTo(current)(ctx, node, spec)
}

// applyTo writes the NodeRuleSet of a node in place of the current one only; nil: only if there
// is none. The cache may not have what a rollout has assigned, and there are two writers.
func (r *Reconciler) applyTo(current *v1alpha1.NodeRuleSet) func(context.Context, *corev1.Node, v1alpha1.NodeRuleSetSpec) error {
	return func(ctx context.Context, node *corev1.Node, spec v1alpha1.NodeRuleSetSpec) error {
		if current == nil {
			owner := metav1.NewControllerRef(node, corev1.SchemeGroupVersion.WithKind("Node"))
			owner.BlockOwnerDeletion = nil
			set := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: node.Name, OwnerReferences: []metav1.OwnerReference{*owner},
				Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ControllerName}}, Spec: spec}
			if err := r.Create(ctx, set, ssa.FieldOwner); err != nil {
				return fmt.Errorf("create NodeRuleSet: %w", err)
			}
			return nil
		}
		intent, err := intentOf(node, spec)
		if err != nil {
			return err
		}
		intent.WithResourceVersion(current.ResourceVersion)
		if err := r.Apply(ctx, intent, ssa.FieldOwner, client.ForceOwnership); err != nil {
			return fmt.Errorf("apply NodeRuleSet: %w", err)
		}
		return nil
	}
}
