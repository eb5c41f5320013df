// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/test/robustness/history"
)

var web = history.Key{Service: "web", Family: corev1.IPv4Protocol}

func slice(name string, pods ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4,
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "web"}}}
	for _, p := range pods {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: p}})
	}
	return s
}

// TestWatch follows EndpointSlices and Pods, also when a watch ends and the apiserver does not
// answer while a slice is deleted.
func TestWatch(t *testing.T) {
	var down atomic.Bool
	watches := make(chan watch.Interface, 100)
	api := fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			if down.Load() {
				return errors.New("the apiserver is down")
			}
			return c.List(ctx, list, o...)
		},
		Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) (watch.Interface, error) {
			w, err := c.Watch(ctx, list, o...)
			watches <- w
			return w, err
		},
	}).WithObjects(slice("web-1", "a"), slice("web-2", "b")).Build()
	h := &history.History{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { h.Watch(ctx, api, "test", 30*time.Second); close(done) }()
	defer func() { cancel(); <-done }()
	want := func(usable map[string]bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			now, wrong := time.Now(), ""
			for pod, want := range usable {
				if h.Usable(web, pod, now, now) != want {
					wrong = pod
				}
			}
			if wrong == "" {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("Pod %s is an endpoint: %v", wrong, !usable[wrong])
			}
		}
	}
	want(map[string]bool{"a": true, "b": true, "c": false})
	open := []watch.Interface{<-watches, <-watches} // both have begun
	begin := time.Now()
	if err := api.Update(ctx, withVersion(ctx, t, api, slice("web-1", "c"))); err != nil {
		t.Fatal(err)
	}
	want(map[string]bool{"a": false, "b": true, "c": true})
	if !h.Usable(web, "a", begin, time.Now()) {
		t.Error("Pod a was an endpoint when the interval began")
	}
	if h.Empty(web, begin, time.Now()) {
		t.Error("there always was an endpoint")
	}
	down.Store(true)
	for _, w := range open {
		w.Stop()
	}
	for _, name := range []string{"web-1", "web-2"} {
		if err := api.Delete(ctx, slice(name)); err != nil {
			t.Fatal(err)
		}
	}
	down.Store(false)
	want(map[string]bool{"b": false, "c": false})
	if now := time.Now(); !h.Empty(web, now, now) {
		t.Error("there still is an endpoint")
	}

	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "c", Finalizers: []string{"fairlead.dev/test"}}}
	if err := api.Create(ctx, pod); err != nil {
		t.Fatal(err)
	}
	if err := api.Delete(ctx, pod, &client.DeleteOptions{GracePeriodSeconds: ptr.To[int64](35)}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for !h.Ended("c", time.Now().Add(time.Hour)) && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	if !h.Ended("c", time.Now().Add(time.Hour)) || h.Ended("c", time.Now().Add(20*time.Second)) || h.Ended("b", time.Now()) {
		t.Error("a deleted Pod ends after 30 s")
	}
}

func withVersion(ctx context.Context, t *testing.T, api client.Client, s *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	t.Helper()
	var now discoveryv1.EndpointSlice
	if err := api.Get(ctx, client.ObjectKeyFromObject(s), &now); err != nil {
		t.Fatal(err)
	}
	s.ResourceVersion = now.ResourceVersion
	return s
}
