// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package revisions keeps what each ProxyConfig has had its nodes program, as
// ControllerRevisions, so that a node can return to it.
package revisions

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// +kubebuilder:rbac:groups=apps,namespace=system,resources=controllerrevisions,verbs=list;watch;create;patch;delete

// defaultLimit is that of a ProxyConfig of an apiserver that does not know the field.
const defaultLimit = 10

// Reconciler keeps the revisions of a ProxyConfig. The garbage collector deletes those of one
// that is gone.
type Reconciler struct {
	// Client reads from the cache and writes to the apiserver.
	client.Client

	// Namespace is the controller's.
	Namespace string
}

var _ reconcile.Reconciler = (*Reconciler)(nil)

// Reconcile writes the current revision of one ProxyConfig, with the highest number, and deletes
// what the limit does not allow.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	config := &v1alpha1.ProxyConfig{}
	err := r.Get(ctx, req.NamespacedName, config)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("get ProxyConfig: %w", err)
	}
	if err != nil || config.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	kept, err := r.kept(ctx, config)
	if err != nil {
		return ctrl.Result{}, err
	}
	used, err := r.used(ctx, config)
	if err != nil {
		return ctrl.Result{}, err
	}
	current := rollout.RevisionOf(config)
	var stored []rollout.Stored
	for name, revision := range kept {
		stored = append(stored, rollout.Stored{Name: name, Number: revision.Revision})
	}
	number, superfluous := rollout.History(current.Name, stored, used, int(ptr.Deref(config.Spec.RevisionHistoryLimit, defaultLimit)))
	result := ctrl.Result{}
	if before := kept[current.Name]; before == nil || before.Revision != number {
		if err := r.apply(ctx, config, current, number); err != nil {
			return ctrl.Result{}, err
		}
		result.RequeueAfter = ssa.LookAgain
	}
	for _, name := range superfluous {
		revision := kept[name]
		if err := r.Delete(ctx, revision, client.Preconditions{UID: &revision.UID}); client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, fmt.Errorf("delete ControllerRevision %s: %w", name, err)
		}
	}
	return result, nil
}

// kept returns the revisions of a ProxyConfig by name.
func (r *Reconciler) kept(ctx context.Context, config *v1alpha1.ProxyConfig) (map[string]*appsv1.ControllerRevision, error) {
	var list appsv1.ControllerRevisionList
	err := r.List(ctx, &list, client.InNamespace(r.Namespace), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ControllerName})
	if err != nil {
		return nil, fmt.Errorf("list ControllerRevisions: %w", err)
	}
	out := map[string]*appsv1.ControllerRevision{}
	for i := range list.Items {
		if revision := &list.Items[i]; ssa.IsOurs(revision, config) && revision.DeletionTimestamp == nil {
			out[revision.Name] = revision
		}
	}
	return out, nil
}

// used returns the revisions that nodes have or are to have, and the one to return to.
func (r *Reconciler) used(ctx context.Context, config *v1alpha1.ProxyConfig) (map[string]bool, error) {
	var sets v1alpha1.NodeRuleSetList
	if err := r.List(ctx, &sets, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list NodeRuleSets: %w", err)
	}
	var rollouts v1alpha1.ProxyRolloutList
	if err := r.List(ctx, &rollouts, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ProxyRollouts: %w", err)
	}
	out := map[string]bool{config.Status.StableRevision: true}
	for i := range rollouts.Items {
		// What it returns to may have left all nodes while the last ones soak.
		if o := &rollouts.Items[i]; !ended(o) {
			out[o.Status.FromRevision], out[o.Status.ToRevision] = true, true
		}
	}
	for i := range sets.Items {
		out[sets.Items[i].Spec.Revision], out[sets.Items[i].Status.AppliedRevision] = true, true
	}
	return out, nil
}

// ended says that a rollout brings no node to another revision any more. One that was undone can
// be tried again, until the ProxyConfig has asked for another revision.
func ended(o *v1alpha1.ProxyRollout) bool {
	return o.Status.Verdict == v1alpha1.VerdictSucceeded || o.Status.Phase == v1alpha1.RolloutSuperseded ||
		apimeta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionSuperseded)
}

// apply writes a revision. Its data never changes: the name is a hash of it.
func (r *Reconciler) apply(ctx context.Context, config *v1alpha1.ProxyConfig, revision rollout.Revision, number int64) error {
	intent := appsv1ac.ControllerRevision(revision.Name, r.Namespace).
		WithLabels(map[string]string{"app.kubernetes.io/name": "fairlead", v1alpha1.LabelManagedBy: v1alpha1.ControllerName}).
		WithOwnerReferences(ssa.Owner(v1alpha1.GroupVersion.String(), "ProxyConfig", config)).
		WithData(runtime.RawExtension{Raw: revision.Data}).
		WithRevision(number)
	if err := r.Apply(ctx, intent, ssa.FieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply ControllerRevision %s: %w", revision.Name, err)
	}
	return nil
}
