// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package enqueue

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestOwner checks which ProxyConfig is reconciled after a change of a ControllerRevision.
func TestOwner(t *testing.T) {
	for name, c := range map[string]struct {
		owners []metav1.OwnerReference
		want   []ctrl.Request
	}{
		"a ProxyConfig's": {[]metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ProxyConfig", Name: "config", Controller: ptr.To(true)}},
			[]ctrl.Request{{NamespacedName: client.ObjectKey{Name: "config"}}}},
		"a DaemonSet's":    {[]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "config", Controller: ptr.To(true)}}, nil},
		"without an owner": {},
	} {
		t.Run(name, func(t *testing.T) {
			revision := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{OwnerReferences: c.owners}}
			if diff := cmp.Diff(c.want, Owner(t.Context(), revision)); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAllConfigs checks that every ProxyConfig is reconciled, and none if the cache cannot be read.
func TestAllConfigs(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	cache := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "b"}}).Build()
	want := []ctrl.Request{{NamespacedName: client.ObjectKey{Name: "a"}}, {NamespacedName: client.ObjectKey{Name: "b"}}}
	if diff := cmp.Diff(want, AllConfigs(cache)(t.Context(), nil)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got := AllConfigs(stopped{cache})(t.Context(), nil); len(got) != 0 {
		t.Errorf("without a cache: %v", got)
	}
}

// stopped is a cache that cannot be read.
type stopped struct{ client.Reader }

func (stopped) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("the cache has stopped")
}
