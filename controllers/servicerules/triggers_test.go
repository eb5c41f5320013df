// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	apiac "github.com/fairlead-proxy/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// TestTriggersOfWrites checks which moments the slices name: of the change that they were
// written for, and of no other one.
func TestTriggersOfWrites(t *testing.T) {
	const first, second = "2026-01-02T03:04:05Z", "2026-01-02T03:05:00Z"
	w := newWorld(t, service(), endpointsOf(first, "10.0.0.1"))
	step := func(what, want string, change func()) {
		t.Helper()
		change()
		w.states.of(webName).window = 0 // nothing is collected
		if _, err := w.reconcile(t); err != nil {
			t.Fatal(what, err)
		}
		slice := &v1alpha1.ServiceRuleSlice{}
		if err := w.api.Get(t.Context(), client.ObjectKey{Name: "default.web-v4-0"}, slice); err != nil {
			t.Fatal(what, err)
		}
		if got := slice.Annotations[corev1.EndpointsLastChangeTriggerTime]; got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	update := func(obj client.Object) func() {
		return func() {
			before := obj.DeepCopyObject().(client.Object)
			if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(obj), before); err != nil {
				t.Fatal(err)
			}
			obj.SetResourceVersion(before.GetResourceVersion())
			if err := w.api.Update(t.Context(), obj); err != nil {
				t.Fatal(err)
			}
		}
	}
	port := func(number int32) *corev1.Service {
		return service(func(s *corev1.Service) { s.Spec.Ports[0].Port = number })
	}
	step("the first write", first, func() {})
	step("written for the Service", first, update(port(81)))
	step("a change that needs no write", first, update(endpointsOf(second, "10.0.0.1")))
	step("written for the Service again", first, update(port(82)))
	changed := func(trigger string, number int32) *corev1.Service {
		svc := port(number)
		svc.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: trigger} // as in the cache
		return svc
	}
	const third, fourth = "2026-01-02T03:06:00Z", "2026-01-02T03:07:00Z"
	step("the Service has changed", third, update(changed(third, 83)))
	step("the same change of the Service", third, update(changed(third, 84)))
	step("a change of the Service that needs no write", third, update(changed(fourth, 84)))
	step("written for endpoints that changed before", third, update(endpointsOf(first, "10.0.0.1", "10.0.0.2")))
	w.states.forget(webName)
	w.clock.(*clocktesting.FakePassiveClock).SetTime(time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC))
	step("a new controller writes anew, long after the change", third, update(changed(fourth, 85)))
}

// TestTriggersOfRemovals checks which moment a slice names when the controller deletes it: when the
// controller first saw that the Service is gone, or when the Service changed.
func TestTriggersOfRemovals(t *testing.T) {
	delegated := service(func(s *corev1.Service) {
		s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
		s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: "2023-11-14T22:13:18Z"} // as in the cache
	})
	for name, c := range map[string]struct {
		service []client.Object
		tries   int
		want    string
	}{
		"the Service is gone":               {nil, 1, "2023-11-14T22:13:20Z"},
		"only a later attempt succeeds":     {nil, 3, "2023-11-14T22:13:20Z"},
		"the Service is of another proxy":   {[]client.Object{delegated}, 1, "2023-11-14T22:13:18Z"},
		"it is, and a later attempt counts": {[]client.Object{delegated}, 2, "2023-11-14T22:13:18Z"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(c.service, written(service(), endpointsOf("", "10.0.0.1"))...)...)
			tries, got := 0, ""
			w.Client = interceptor.NewClient(w.api, interceptor.Funcs{
				Apply: func(_ context.Context, _ client.WithWatch, obj runtime.ApplyConfiguration, _ ...client.ApplyOption) error {
					if tries++; tries < c.tries {
						return errors.New("timeout")
					}
					got = obj.(*apiac.ServiceRuleSliceApplyConfiguration).Annotations[corev1.EndpointsLastChangeTriggerTime]
					return nil
				},
			})
			for try := range c.tries {
				if _, err := w.reconcile(t); (err != nil) != (try < c.tries-1) {
					t.Fatal(try, err)
				}
				clk := w.clock.(*clocktesting.FakePassiveClock)
				clk.SetTime(clk.Now().Add(time.Second))
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
