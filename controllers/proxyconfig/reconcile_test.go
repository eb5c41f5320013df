// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	apiac "github.com/fairlead-proxy/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// TestReconcile is what is written where, and what becomes of failures; test/envtest has the
// real apiserver. A write names the object that it is for by its UID: a ProxyConfig that was
// deleted and created again has another status.
func TestReconcile(t *testing.T) {
	config := func(name, uid string) *v1alpha1.ProxyConfig {
		return &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(uid), Generation: 1}}
	}
	resource := schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "proxyconfigs"}
	noAnswer := errors.New("no answer")
	for name, tc := range map[string]struct {
		configs []client.Object
		refused string // the kind whose list fails
		write   error  // what a write returns
		want    []string
		fails   bool
	}{
		"a new one":         {configs: []client.Object{config("default", "1")}, want: []string{"default 1"}},
		"created again":     {configs: []client.Object{config("default", "2")}, want: []string{"default 2"}},
		"not the other":     {configs: []client.Object{config("another", "1"), config("default", "2")}, want: []string{"default 2"}},
		"gone":              {configs: []client.Object{config("another", "1")}},
		"gone when written": {configs: []client.Object{config("default", "1")}, write: apierrors.NewNotFound(resource, "default"), want: []string{"default 1"}},
		"replaced before":   {configs: []client.Object{config("default", "1")}, write: apierrors.NewConflict(resource, "default", noAnswer), want: []string{"default 1"}, fails: true},
		"write fails":       {configs: []client.Object{config("default", "1")}, write: noAnswer, want: []string{"default 1"}, fails: true},
		"no ProxyConfigs":   {configs: []client.Object{config("default", "1")}, refused: "*v1alpha1.ProxyConfigList", fails: true},
		"no Nodes":          {configs: []client.Object{config("default", "1")}, refused: "*v1.NodeList", fails: true},
		"no NodeRuleSets":   {configs: []client.Object{config("default", "1")}, refused: "*v1alpha1.NodeRuleSetList", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			api := interceptor.NewClient(apiWith(t, tc.configs...), interceptor.Funcs{
				List: func(ctx context.Context, in client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
					if fmt.Sprintf("%T", list) == tc.refused {
						return noAnswer
					}
					return in.List(ctx, list, opts...)
				},
				SubResourceApply: func(_ context.Context, _ client.Client, sub string, obj runtime.ApplyConfiguration, _ ...client.SubResourceApplyOption) error {
					c := obj.(*apiac.ProxyConfigApplyConfiguration)
					if sub != "status" || c.UID == nil || c.Spec != nil {
						t.Errorf("writes %q of any object of the name: %+v", sub, c)
						return nil
					}
					got = append(got, *c.Name+" "+string(*c.UID))
					return tc.write
				},
			})
			r := New(api, api, clocktesting.NewFakePassiveClock(now), time.Minute)
			result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Name: "default"}})
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			if (err != nil) != tc.fails {
				t.Errorf("error %v, want one: %v", err, tc.fails)
			}
			// The policies are looked at again, also if no agent is waited for.
			if again := err == nil && len(tc.want) > 0; again != (result.RequeueAfter == protectionPeriod) {
				t.Errorf("again after %s", result.RequeueAfter)
			}
		})
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
