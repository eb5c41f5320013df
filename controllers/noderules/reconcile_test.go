// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package noderules

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

func node(uid types.UID) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: uid}}
}

func config(change ...func(*v1alpha1.ProxyConfig)) *v1alpha1.ProxyConfig {
	c := &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "config", Generation: 1}}
	for _, f := range change {
		f(c)
	}
	return c
}

func invalid(c *v1alpha1.ProxyConfig) {
	c.Spec.NodeSelector = &v1alpha1.NodeSelector{MatchLabels: map[string]v1alpha1.LabelValue{"not a label": "x"}}
}

// ruleSet is the NodeRuleSet that the controller has written for a node.
func ruleSet(n *corev1.Node, change ...func(*v1alpha1.NodeRuleSet)) *v1alpha1.NodeRuleSet {
	spec, _ := compile.Node(compile.NodeInput{Node: n, Config: config(), Revision: rollout.RevisionOf(config()).Name})
	s := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "set",
		Labels:          map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ControllerName},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "node", UID: n.UID, Controller: ptr.To(true)}}}, Spec: spec}
	for _, f := range change {
		f(s)
	}
	return s
}

// TestReconcile is what the Reconciler does with an API that it cannot trust; test/envtest has
// the real one.
func TestReconcile(t *testing.T) {
	foreign := func(s *v1alpha1.NodeRuleSet) { s.Labels = nil }
	cleanUp := func(s *v1alpha1.NodeRuleSet) { s.Spec.DeletionPolicy = v1alpha1.DeletionCleanup }
	isConfigs := func(list client.ObjectList) error {
		if configs, ok := list.(*v1alpha1.ProxyConfigList); ok {
			configs.Items = nil
		}
		return nil
	}
	noCIDRs := func(list client.ObjectList) error {
		if _, ok := list.(*networkingv1.ServiceCIDRList); ok {
			return errors.New("no answer")
		}
		return nil
	}
	for name, c := range map[string]struct {
		objs   []client.Object
		cached func(client.ObjectList) error // changes what the cache lists, or fails
		failed error                         // of reads from the apiserver
		want   []string
		fails  bool
	}{
		"a new node":                   {objs: []client.Object{node("1"), config()}, want: []string{"apply"}},
		"up to date":                   {objs: []client.Object{node("1"), config(), ruleSet(node("1"))}},
		"another policy before":        {objs: []client.Object{node("1"), config(), ruleSet(node("1"), func(s *v1alpha1.NodeRuleSet) { s.Spec.Mode = v1alpha1.ModeIPVS })}, want: []string{"apply"}},
		"created again":                {objs: []client.Object{node("2"), config(), ruleSet(node("1"))}, want: []string{"apply"}},
		"no longer selected":           {objs: []client.Object{node("1"), ruleSet(node("1"))}, want: []string{"delete"}},
		"no longer selected, clean up": {objs: []client.Object{node("1"), ruleSet(node("1"), cleanUp)}, want: []string{"apply"}},
		"gone":                         {objs: []client.Object{config(), ruleSet(node("1"))}, want: []string{"delete"}},
		"gone, clean up":               {objs: []client.Object{config(), ruleSet(node("1"), cleanUp)}, want: []string{"delete"}},
		"one of others":                {objs: []client.Object{node("1"), ruleSet(node("1"), foreign)}},
		"one of others, selected":      {objs: []client.Object{node("1"), config(), ruleSet(node("1"), foreign)}, want: []string{"apply"}},
		"only the cache misses it":     {objs: []client.Object{node("1"), config(), ruleSet(node("1"))}, cached: isConfigs, fails: true},
		"missed, no answer":            {objs: []client.Object{node("1"), ruleSet(node("1"))}, failed: errors.New("timeout"), fails: true},
		"an invalid selector":          {objs: []client.Object{node("1"), config(invalid), ruleSet(node("1"))}, fails: true},
		"ServiceCIDRs are not known":   {objs: []client.Object{node("1"), config(), ruleSet(node("1"))}, cached: noCIDRs, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			api := apiWith(t, c.objs...)
			var got []string
			cached := interceptor.NewClient(api, interceptor.Funcs{
				List: func(ctx context.Context, in client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
					err := in.List(ctx, list, opts...)
					if err == nil && c.cached != nil {
						err = c.cached(list)
					}
					return err
				},
				Apply: func(ctx context.Context, in client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
					got = append(got, "apply")
					return in.Apply(ctx, obj, opts...)
				},
				Delete: func(ctx context.Context, in client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
					p := (&client.DeleteOptions{}).ApplyOptions(opts).Preconditions
					if p == nil || p.UID == nil || *p.UID != "set" {
						t.Errorf("deletes whatever has the name: %+v", p)
					}
					got = append(got, "delete")
					return in.Delete(ctx, obj, opts...)
				},
			})
			live := interceptor.NewClient(api, interceptor.Funcs{
				Get: func(ctx context.Context, in client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
					if c.failed != nil {
						return c.failed
					}
					return in.Get(ctx, key, obj, opts...)
				},
			})
			r := &Reconciler{Client: cached, Live: live, Recorder: events.NewFakeRecorder(10),
				Clock: clocktesting.NewFakePassiveClock(time.Unix(1_700_000_000, 0)), Patience: time.Minute}
			_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Name: "node"}})
			if diff := cmp.Diff(c.want, got); diff != "" || (err != nil) != c.fails {
				t.Errorf("error %v, writes (-want +got):\n%s", err, diff)
			}
			set := &v1alpha1.NodeRuleSet{}
			err = api.Get(t.Context(), client.ObjectKey{Name: "node"}, set)
			if gone := len(c.want) > 0 && c.want[0] == "delete"; apierrors.IsNotFound(err) != gone {
				t.Errorf("gone: %v", err)
			}
		})
	}
}

// TestAllNodes checks that a NodeRuleSet without a node is not forgotten.
func TestAllNodes(t *testing.T) {
	other := ruleSet(node("1"))
	other.Name = "other"
	r := &Reconciler{Client: apiWith(t, node("1"), other)}
	want := []ctrl.Request{{NamespacedName: types.NamespacedName{Name: "node"}}, {NamespacedName: types.NamespacedName{Name: "other"}}}
	if diff := cmp.Diff(want, r.allNodes(t.Context(), nil)); diff != "" {
		t.Errorf("all nodes (-want +got):\n%s", diff)
	}
}

func apiWith(t *testing.T, objs ...client.Object) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objs...).Build()
}
