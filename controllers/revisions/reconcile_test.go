// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package revisions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// config is a ProxyConfig, and current the revision of its policy.
func config(change ...func(*v1alpha1.ProxyConfig)) *v1alpha1.ProxyConfig {
	c := &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "uid"}, Spec: v1alpha1.ProxyConfigSpec{RevisionHistoryLimit: ptr.To(int32(1))}}
	for _, f := range change {
		f(c)
	}
	return c
}

var current = rollout.RevisionOf(config())

// stored is a revision that is kept of the ProxyConfig.
func stored(name string, number int64, change ...func(*appsv1.ControllerRevision)) client.Object {
	r := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead", Name: name, UID: types.UID("uid of " + name),
		Labels:          map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ControllerName},
		OwnerReferences: []metav1.OwnerReference{{UID: "uid", Controller: ptr.To(true)}}}, Revision: number}
	for _, f := range change {
		f(r)
	}
	return r
}

// TestReconcile checks which revisions are written and deleted.
func TestReconcile(t *testing.T) {
	noAnswer := errors.New("no answer")
	gone := apierrors.NewNotFound(schema.GroupResource{Group: "apps", Resource: "controllerrevisions"}, "a")
	deleting := func(r *appsv1.ControllerRevision) {
		r.DeletionTimestamp, r.Finalizers = &metav1.Time{Time: time.Unix(1, 0)}, []string{"f"}
	}
	foreign := func(r *appsv1.ControllerRevision) { r.OwnerReferences[0].UID = "other" }
	elsewhere := func(r *appsv1.ControllerRevision) { r.Namespace = "other" }
	uses := func(revision string) client.Object {
		return &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: "node"}, Spec: v1alpha1.NodeRuleSetSpec{Revision: revision}}
	}
	for name, c := range map[string]struct {
		objects []client.Object
		refused string // the call that fails
		delete  error
		want    []string
		fails   bool
	}{
		"no ProxyConfig": {},
		"it is being deleted": {objects: []client.Object{config(func(c *v1alpha1.ProxyConfig) {
			c.DeletionTimestamp, c.Finalizers = &metav1.Time{Time: time.Unix(1, 0)}, []string{"f"}
		})}},
		"the first":                   {objects: []client.Object{config()}, want: []string{"current is 1"}},
		"it is there":                 {objects: []client.Object{config(), stored(current.Name, 1)}},
		"after another":               {objects: []client.Object{config(), stored("a", 4)}, want: []string{"current is 5"}},
		"it has come back":            {objects: []client.Object{config(), stored(current.Name, 1), stored("a", 4)}, want: []string{"current is 5"}},
		"of another ProxyConfig":      {objects: []client.Object{config(), stored("a", 4, foreign)}, want: []string{"current is 1"}},
		"in another namespace":        {objects: []client.Object{config(), stored("a", 4, elsewhere)}, want: []string{"current is 1"}},
		"the same, of another":        {objects: []client.Object{config(), stored(current.Name, 4, foreign)}, want: []string{"current is 1"}},
		"it is there, and going":      {objects: []client.Object{config(), stored(current.Name, 4, deleting)}, want: []string{"current is 1"}},
		"too many":                    {objects: []client.Object{config(), stored("a", 1), stored("b", 2), stored("c", 3), stored(current.Name, 4)}, want: []string{"delete a", "delete b"}},
		"too many, and a new one":     {objects: []client.Object{config(), stored("a", 1), stored("b", 2)}, want: []string{"current is 3", "delete a"}},
		"a node has the oldest":       {objects: []client.Object{config(), stored("a", 1), stored("b", 2), stored("c", 3), stored(current.Name, 4), uses("a")}, want: []string{"delete b"}},
		"without a limit ten":         {objects: append([]client.Object{config(func(c *v1alpha1.ProxyConfig) { c.Spec.RevisionHistoryLimit = nil }), stored(current.Name, 20)}, eleven()...), want: []string{"delete old-00"}},
		"gone when it is deleted":     {objects: []client.Object{config(), stored("a", 1), stored("b", 2), stored(current.Name, 3)}, delete: gone, want: []string{"delete a"}},
		"it cannot be deleted":        {objects: []client.Object{config(), stored("a", 1), stored("b", 2), stored(current.Name, 3)}, delete: noAnswer, want: []string{"delete a"}, fails: true},
		"it cannot be written":        {objects: []client.Object{config()}, refused: "apply", want: []string{"current is 1"}, fails: true},
		"no answer":                   {objects: []client.Object{config()}, refused: "get", fails: true},
		"no ControllerRevisions":      {objects: []client.Object{config()}, refused: "*v1.ControllerRevisionList", fails: true},
		"no NodeRuleSets":             {objects: []client.Object{config()}, refused: "*v1alpha1.NodeRuleSetList", fails: true},
		"no ProxyRollouts":            {objects: []client.Object{config()}, refused: "*v1alpha1.ProxyRolloutList", fails: true},
		"one without the label is no": {objects: []client.Object{config(), stored("a", 4, func(r *appsv1.ControllerRevision) { r.Labels = nil })}, want: []string{"current is 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			scheme := runtime.NewScheme()
			if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
				t.Fatal(err)
			}
			api := interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).WithObjects(c.objects...).Build(), interceptor.Funcs{
				Get: func(ctx context.Context, in client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
					if c.refused == "get" {
						return noAnswer
					}
					return in.Get(ctx, key, obj, opts...)
				},
				List: func(ctx context.Context, in client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
					if fmt.Sprintf("%T", list) == c.refused {
						return noAnswer
					}
					return in.List(ctx, list, opts...)
				},
				Delete: func(_ context.Context, _ client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
					uid := (&client.DeleteOptions{}).ApplyOptions(opts).Preconditions.UID
					if got = append(got, "delete "+obj.GetName()); uid == nil || string(*uid) != "uid of "+obj.GetName() {
						t.Errorf("deletes any object of the name %s", obj.GetName())
					}
					return c.delete
				},
				Apply: func(_ context.Context, _ client.WithWatch, obj runtime.ApplyConfiguration, _ ...client.ApplyOption) error {
					r := obj.(*appsv1ac.ControllerRevisionApplyConfiguration)
					if *r.Name != current.Name || *r.Namespace != "fairlead" || r.Data == nil || string(r.Data.Raw) != string(current.Data) ||
						r.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ControllerName || len(r.OwnerReferences) != 1 || *r.OwnerReferences[0].UID != "uid" {
						t.Errorf("writes %+v", r)
					}
					got = append(got, fmt.Sprint("current is ", *r.Revision))
					if c.refused == "apply" {
						return noAnswer
					}
					return nil
				},
			})
			result, err := (&Reconciler{Client: api, Namespace: "fairlead"}).Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: "default"}})
			if (err != nil) != c.fails {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			written := slices.ContainsFunc(got, func(w string) bool { return w[0] == 'c' })
			if looks := result.RequeueAfter == ssa.LookAgain; !c.fails && looks != written {
				t.Errorf("looks again after %s", result.RequeueAfter)
			}
		})
	}
}

func eleven() (out []client.Object) {
	for i := range 11 {
		out = append(out, stored(fmt.Sprintf("old-%02d", i), int64(i+1)))
	}
	return out
}
