// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package takeover keeps kube-proxy off the nodes that have taken over from it, and brings it
// back: it labels the nodes, and changes the affinity of kube-proxy's DaemonSet once.
package takeover

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
	"github.com/fairlead-proxy/fairlead/rules/takeover"
)

// period is the time between two looks at kube-proxy's DaemonSet. It is not watched: without
// config/takeover the controller has no right to, and a watch would fail all the time.
const period = 5 * time.Second

// fieldOwner is the field manager of the condition: controllers/proxyconfig owns the others.
const fieldOwner = client.FieldOwner("fairlead-takeover")

// Reconciler takes over from kube-proxy, and gives back to it, on the nodes of a ProxyConfig. Its
// rights are in config/takeover; without them it says so, and changes nothing.
type Reconciler struct {
	// Client reads from the cache, except DaemonSets, and writes to the apiserver.
	client.Client

	// Live reads kube-proxy's DaemonSet from the apiserver.
	Live client.Reader

	// Recorder records events on ProxyConfigs.
	Recorder events.EventRecorder
}

var _ reconcile.Reconciler = (*Reconciler)(nil)

// state is what the cache has of a ProxyConfig and its nodes.
type state struct {
	config  *v1alpha1.ProxyConfig // nil: it is gone
	configs []v1alpha1.ProxyConfig
	nodes   map[string]*corev1.Node
	sets    []*v1alpha1.NodeRuleSet // of the ProxyConfig's nodes, by name
	all     []v1alpha1.NodeRuleSet
}

// Reconcile does what is to do on the nodes of one ProxyConfig. The DaemonSet comes first: without
// its term a label has no effect.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s, err := r.read(ctx, req.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	var stop *obstacle
	result := ctrl.Result{}
	if options := s.options(); options != nil {
		result.RequeueAfter = period
		if stop, err = r.changeDaemonSet(ctx, s, options); err != nil {
			return ctrl.Result{}, err
		}
	}
	refused, err := r.label(ctx, s, stop == nil)
	if err != nil {
		return ctrl.Result{}, err
	}
	if refused != nil {
		stop = refused
	}
	return result, r.report(ctx, s, stop)
}

// read reads from the cache.
func (r *Reconciler) read(ctx context.Context, name string) (*state, error) {
	s := &state{nodes: map[string]*corev1.Node{}}
	var configs v1alpha1.ProxyConfigList
	var nodes corev1.NodeList
	var sets v1alpha1.NodeRuleSetList
	for _, list := range []client.ObjectList{&configs, &nodes, &sets} {
		if err := r.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list %T: %w", list, err)
		}
	}
	s.configs, s.all = configs.Items, sets.Items
	for i := range s.configs {
		if c := &s.configs[i]; c.Name == name && c.DeletionTimestamp == nil {
			s.config = c
		}
	}
	for i := range nodes.Items {
		s.nodes[nodes.Items[i].Name] = &nodes.Items[i]
	}
	for i := range s.all {
		if set := &s.all[i]; set.Spec.Policy.Name == name && s.nodes[set.Name] != nil {
			s.sets = append(s.sets, set)
		}
	}
	slices.SortFunc(s.sets, func(a, b *v1alpha1.NodeRuleSet) int { return strings.Compare(a.Name, b.Name) })
	return s, nil
}

// options returns what the ProxyConfig says of kube-proxy; nil: nothing.
func (s *state) options() *v1alpha1.KubeProxyOptions {
	if s.config == nil || s.config.Spec.KubeProxy == nil || s.config.Spec.KubeProxy.TakeOver == nil {
		return nil
	}
	return s.config.Spec.KubeProxy
}

func isLabelled(node *corev1.Node) bool {
	return node.Labels[v1alpha1.LabelKubeProxy] == v1alpha1.KubeProxyReplaced
}

// isWanted says whether a DaemonSet is to keep off nodes with the label: a ProxyConfig or a node is to
// take over from it, or a node has the label.
func (s *state) isWanted(daemonSet string) bool {
	names := map[string]bool{}
	for i := range s.configs {
		c := &s.configs[i]
		o := c.Spec.KubeProxy
		if o == nil || o.TakeOver == nil || o.DaemonSet != daemonSet {
			continue
		}
		if *o.TakeOver {
			return true
		}
		names[c.Name] = true
	}
	for i := range s.all {
		if set := &s.all[i]; names[set.Spec.Policy.Name] && set.Spec.KubeProxy == v1alpha1.KubeProxyTakeOver {
			return true
		}
	}
	for _, node := range s.nodes {
		if isLabelled(node) {
			return true
		}
	}
	return false
}

// changeDaemonSet has the DaemonSet keep off nodes with the label, or not any more. It returns what keeps
// it from that.
func (r *Reconciler) changeDaemonSet(ctx context.Context, s *state, o *v1alpha1.KubeProxyOptions) (*obstacle, error) {
	namespace, name, _ := strings.Cut(o.DaemonSet, "/")
	ds := &appsv1.DaemonSet{}
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, ds)
	wanted := s.isWanted(o.DaemonSet)
	switch {
	case apierrors.IsNotFound(err):
		if !wanted {
			return nil, nil
		}
		return notFound(o), nil
	case apierrors.IsForbidden(err):
		return forbidden(err), nil
	case err != nil:
		return nil, fmt.Errorf("get DaemonSet %s: %w", o.DaemonSet, err)
	}
	if stop, err := r.patchDaemonSet(ctx, s, o, ds, wanted); stop != nil || err != nil {
		return stop, err
	}
	return s.skipped(ds, o), nil
}

// patchDaemonSet does that with a DaemonSet that is there.
func (r *Reconciler) patchDaemonSet(ctx context.Context, s *state, o *v1alpha1.KubeProxyOptions, ds *appsv1.DaemonSet, wanted bool) (*obstacle, error) {
	var changed *appsv1.DaemonSet
	switch {
	case wanted && !takeover.KeepsOff(ds):
		changed = takeover.Exclude(ds)
	case !wanted && takeover.IsChanged(ds):
		changed = takeover.Restore(ds)
	default:
		return nil, nil
	}
	if owner := takeover.OwnerOf(ds); owner != "" {
		return owned(ds, owner), nil
	}
	// The resource version: what was decided holds for this DaemonSet only.
	err := r.Patch(ctx, changed, client.MergeFromWithOptions(ds, client.MergeFromWithOptimisticLock{}), ssa.FieldOwner)
	switch {
	case apierrors.IsForbidden(err):
		return forbidden(err), nil
	case err != nil:
		return nil, fmt.Errorf("patch DaemonSet %s: %w", o.DaemonSet, err)
	}
	reason, verb := v1alpha1.EventKubeProxyExcluded, "keeps off"
	if !wanted {
		reason, verb = v1alpha1.EventKubeProxyRestored, "has its affinity of before, without"
	}
	r.Recorder.Eventf(s.config, nil, corev1.EventTypeNormal, reason, "PatchDaemonSet", "DaemonSet %s %s nodes with the label %s=%s",
		o.DaemonSet, verb, v1alpha1.LabelKubeProxy, v1alpha1.KubeProxyReplaced)
	return nil, nil
}

// label sets and removes the label of the ProxyConfig's nodes. It sets none unless heeded: the
// DaemonSet keeps off nodes with it.
func (r *Reconciler) label(ctx context.Context, s *state, heeded bool) (*obstacle, error) {
	for _, set := range s.sets {
		node := s.nodes[set.Name]
		since, _ := rollout.VerifiedSince(set)
		replaced := takeover.Replaced(set, !since.IsZero(), isLabelled(node))
		if replaced == isLabelled(node) || replaced && (!heeded || s.options() == nil) {
			continue
		}
		var value any // null removes it
		if replaced {
			value = v1alpha1.KubeProxyReplaced
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"uid": node.UID, "labels": map[string]any{v1alpha1.LabelKubeProxy: value}}})
		if err != nil {
			return nil, fmt.Errorf("encode the label: %w", err)
		}
		target := &corev1.Node{}
		target.Name = node.Name
		err = r.Patch(ctx, target, client.RawPatch(types.MergePatchType, patch), ssa.FieldOwner)
		switch {
		case apierrors.IsForbidden(err):
			return forbidden(err), nil
		case client.IgnoreNotFound(err) != nil:
			return nil, fmt.Errorf("label Node %s: %w", node.Name, err)
		}
	}
	return nil, nil
}
