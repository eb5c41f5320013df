// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/servicerules"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// services drives the reconciler of Services in a namespace of its own.
type services struct {
	t *testing.T
	*view
	*servicerules.Reconciler
	clock    *testclock.FakePassiveClock
	recorder *events.FakeRecorder
	ns       string
}

func newServices(t *testing.T) *services {
	s := &services{t: t, view: newView(t), ns: namespace(t),
		clock: testclock.NewFakePassiveClock(time.Now()), recorder: events.NewFakeRecorder(100)}
	s.restart()
	return s
}

// restart replaces the reconciler with a new one, without state.
func (s *services) restart() {
	s.Reconciler = servicerules.New(s.view, api, s.recorder, s.clock)
}

// try reconciles the Service web.
func (s *services) try() (ctrl.Result, error) {
	return s.Reconcile(s.t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: s.ns, Name: "web"}})
}

// reconcile must succeed; it returns what was written.
func (s *services) reconcile() []string {
	s.t.Helper()
	s.clock.SetTime(s.clock.Now().Add(time.Minute))
	s.writes = nil
	result, err := s.try()
	var want ctrl.Result
	there := s.Reconciler.Get(s.t.Context(), client.ObjectKey{Namespace: s.ns, Name: "web"}, &corev1.Service{}) == nil
	if there && len(s.writes) > 0 {
		want.RequeueAfter = ssa.LookAgain
	}
	if err != nil || result != want {
		s.t.Fatalf("reconcile: got %v, %v; want %v", result, err, want)
	}
	return s.short(s.writes)
}

// short returns texts without the namespace in the names of slices.
func (s *services) short(texts []string) []string {
	var out []string
	for _, text := range texts {
		out = append(out, strings.ReplaceAll(text, s.ns+".", ""))
	}
	return out
}

func (s *services) service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "web"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
}

// endpointSlice has the endpoints 10.1.0.1 to 10.1.0.n.
func (s *services) endpointSlice(n int) *discoveryv1.EndpointSlice {
	port, name := int32(8080), "http"
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: s.ns, Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}
	setEndpoints(slice, n)
	return slice
}

// sliceOf is a slice that nothing compiles.
func (s *services) sliceOf(service string) *v1alpha1.ServiceRuleSlice {
	id := model.ServiceID{Namespace: s.ns, Name: service, Family: corev1.IPv4Protocol}
	return &v1alpha1.ServiceRuleSlice{
		ObjectMeta: metav1.ObjectMeta{Name: model.SliceName(id, 0), Labels: model.SliceLabels(id)},
		Spec: v1alpha1.ServiceRuleSliceSpec{ServiceNamespace: s.ns, ServiceName: service, AddressFamily: id.Family, Parts: 1,
			ClusterIP: "10.0.0.10", Digest: "0"},
	}
}

func setEndpoints(slice *discoveryv1.EndpointSlice, n int) {
	ready := true
	slice.Endpoints = nil
	for i := range n {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{address(i)}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	}
}

func address(i int) string { return fmt.Sprintf("10.1.%d.%d", i/250, i%250+1) }

func (s *services) update(obj client.Object) {
	s.t.Helper()
	if err := api.Update(s.t.Context(), obj); err != nil {
		s.t.Fatal(err)
	}
}

func (s *services) delete(obj client.Object) {
	s.t.Helper()
	if err := api.Delete(s.t.Context(), obj); err != nil {
		s.t.Fatal(err)
	}
}

// slices returns the slices in the API of Services in the namespace, by name without it.
func (s *services) slices() map[string]v1alpha1.ServiceRuleSlice {
	s.t.Helper()
	var list v1alpha1.ServiceRuleSliceList
	if err := api.List(s.t.Context(), &list); err != nil {
		s.t.Fatal(err)
	}
	out := map[string]v1alpha1.ServiceRuleSlice{}
	for _, item := range list.Items {
		if item.Spec.ServiceNamespace == s.ns {
			out[strings.TrimPrefix(item.Name, s.ns+".")] = item
		}
	}
	return out
}

// endpoints returns the sorted addresses in all slices.
func (s *services) endpoints() []string {
	var out []string
	for _, slice := range s.slices() {
		for _, e := range slice.Spec.Endpoints {
			out = append(out, e.Address)
		}
	}
	slices.Sort(out)
	return out
}

func (s *services) wantWrites(want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.reconcile()); diff != "" {
		s.t.Errorf("writes (-want +got):\n%s", diff)
	}
}

func wantEvent(t *testing.T, recorder *events.FakeRecorder, prefix string) {
	t.Helper()
	select {
	case got := <-recorder.Events:
		if !strings.HasPrefix(got, prefix) {
			t.Errorf("event: got %q, want %q...", got, prefix)
		}
	default:
		t.Errorf("no event, want %q", prefix)
	}
}

func wantNoEvent(t *testing.T, recorder *events.FakeRecorder) {
	t.Helper()
	select {
	case got := <-recorder.Events:
		t.Errorf("event: got %q, want none", got)
	default:
	}
}
