// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func endpointSlice(namespace, service string, labels map[string]string) *discoveryv1.EndpointSlice {
	all := map[string]string{discoveryv1.LabelServiceName: service}
	for k, v := range labels {
		all[k] = v
	}
	return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: service + "-x", Labels: all}}
}

// TestQueueOrder fills the queue as at start and checks what comes out first.
func TestQueueOrder(t *testing.T) {
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	slices := enqueue(labelledService)
	initial := func(obj client.Object) {
		slices.Create(t.Context(), event.CreateEvent{Object: obj, IsInInitialList: true}, q)
	}
	initial(endpointSlice("default", "web", nil))
	slices.Update(t.Context(), event.UpdateEvent{ObjectOld: endpointSlice("default", "changed", nil),
		ObjectNew: func() client.Object { s := endpointSlice("default", "changed", nil); s.ResourceVersion = "2"; return s }()}, q)
	initial(endpointSlice("kube-system", "coredns", map[string]string{"k8s-app": "kube-dns"}))
	initial(endpointSlice("default", "kubernetes", nil))
	// A slice that belongs to no Service.
	initial(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}})

	var got []string
	for range 4 {
		item, _, _ := q.GetWithPriority()
		got = append(got, item.Name)
		q.Done(item)
	}
	want := []string{"coredns", "kubernetes", "changed", "web"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if q.Len() != 0 {
		t.Errorf("%d more in the queue", q.Len())
	}
}

// TestSliceMovesToAnotherService checks that the Service that lost an EndpointSlice is
// reconciled, too.
func TestSliceMovesToAnotherService(t *testing.T) {
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	slices := enqueue(labelledService)
	slices.Update(t.Context(), event.UpdateEvent{ObjectOld: endpointSlice("default", "a", nil), ObjectNew: endpointSlice("default", "b", nil)}, q)
	got := map[string]bool{}
	for range 2 {
		item, _ := q.Get()
		got[item.Name] = true
	}
	if diff := cmp.Diff(map[string]bool{"a": true, "b": true}, got); diff != "" {
		t.Error(diff)
	}
}

func TestComesFirst(t *testing.T) {
	dns := map[string]string{"k8s-app": "kube-dns"}
	cases := map[string]struct {
		namespace, name string
		labels          map[string]string
		want            bool
	}{
		"apiserver":     {"default", "kubernetes", nil, true},
		"DNS by name":   {"kube-system", "kube-dns", nil, true},
		"DNS by label":  {"kube-system", "rke2-coredns", dns, true},
		"foreign label": {"default", "web", dns, false},
		"other":         {"kube-system", "metrics-server", nil, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: tc.namespace, Name: tc.name, Labels: tc.labels}}
			if got := comesFirst(client.ObjectKeyFromObject(svc), svc); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
