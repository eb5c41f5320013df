// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/internal/apitest"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// failing has a world's calls fail as each says; nil: none does. It gets the number of the call.
func (w *world) failing(each func(n int) error) (calls *int) {
	calls = new(int)
	next := func() error {
		*calls++
		return each(*calls - 1)
	}
	funcs := apitest.Failing(next)
	w.Client = interceptor.NewClient(w.Client.(client.WithWatch), funcs)
	w.Live = interceptor.NewClient(w.Live.(client.WithWatch), funcs)
	return calls
}

// specs returns what the API has.
func (w *world) specs(t *testing.T) map[string]v1alpha1.ServiceRuleSliceSpec {
	t.Helper()
	var list v1alpha1.ServiceRuleSliceList
	if err := w.api.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]v1alpha1.ServiceRuleSliceSpec{}
	for _, s := range list.Items {
		out[s.Name] = s.Spec
	}
	return out
}

func isWrite(what string) bool { return strings.Contains(what, "ServiceRuleSlice default") }

// TestEachCallFails has one call after the other fail. Each failure is returned, with what was tried; what
// it leaves is marked before it goes; and the next try does the rest.
func TestEachCallFails(t *testing.T) {
	endpoints, none := endpointsOf("", "10.0.0.1", "10.0.0.2"), endpointsOf("")
	exposed := service(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.7"} })
	other := service(func(s *corev1.Service) {
		s.Name, s.UID, s.Spec.ExternalIPs, s.Spec.ClusterIP, s.Spec.ClusterIPs = "other", "o", []string{"192.0.2.7"}, "10.96.0.2", []string{"10.96.0.2"}
	})
	both := service(func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.96.0.1", "fd00::1"} })
	for name, tc := range map[string]struct {
		objs []client.Object
		want []string // what is tried
	}{
		"a Service with all that it may have": {append(written(other, none), exposed, other, endpoints), []string{
			"list ServiceRuleSlices: ", "get Service: ", "list EndpointSlices: ", "list Nodes: ", "list NodeRuleSets: ", "get EndpointSlice default/kubernetes: ",
			"apply ServiceRuleSlice default.web-v4-0: ", "list ServiceRuleSlices with the address 10.96.0.1: ", "list ServiceRuleSlices with the address 192.0.2.7: ", "get Service: "}},
		"a family goes": {append(written(both, endpoints), service(), endpoints), []string{
			"list ServiceRuleSlices: ", "get Service: ", "list EndpointSlices: ",
			"mark ServiceRuleSlice default.web-v6-0 before its deletion: ", "delete ServiceRuleSlice default.web-v6-0: ", "list ServiceRuleSlices with the address 10.96.0.1: "}},
		"the last endpoint goes": {append(written(service(), endpoints), service(), none), []string{
			"list ServiceRuleSlices: ", "get Service: ", "list EndpointSlices: ", "check the apiserver before removing the last endpoint: ",
			"apply ServiceRuleSlice default.web-v4-0: ", "list ServiceRuleSlices with the address 10.96.0.1: "}},
		"a Service is gone": {written(service(), endpoints), []string{
			"list ServiceRuleSlices: ", "get Service: ", "check the apiserver before deleting rules: ",
			"mark ServiceRuleSlice default.web-v4-0 before its deletion: ", "delete ServiceRuleSlice default.web-v4-0: "}},
	} {
		t.Run(name, func(t *testing.T) {
			at := newWorld(t, tc.objs...)
			calls := at.failing(func(int) error { return nil })
			if _, err := at.reconcile(t); err != nil {
				t.Fatal(err)
			}
			want, number := at.specs(t), *calls
			if number != len(tc.want) {
				t.Errorf("%d calls, want %d", number, len(tc.want))
			}
			first := slices.IndexFunc(tc.want, isWrite)
			for k := range min(number, len(tc.want)) {
				w, refused := newWorld(t, tc.objs...), fmt.Errorf("refused %d", k)
				w.failing(func(n int) error {
					if n == k {
						return refused
					}
					return nil
				})
				before := w.specs(t)
				result, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: webName})
				if !errors.Is(err, refused) || !strings.HasPrefix(err.Error(), tc.want[k]) || result != (ctrl.Result{}) {
					t.Errorf("call %d: %v, %+v; want %s...", k, err, result, tc.want[k])
				}
				if diff := cmp.Diff(before, w.specs(t)); diff != "" && k <= first {
					t.Errorf("call %d has changed:\n%s", k, diff)
				}
				if failed := len(w.events.Events) == 1; failed != (isWrite(tc.want[k]) && name != "a Service is gone") {
					t.Errorf("call %d: %d events", k, len(w.events.Events))
				} else if failed {
					if e := <-w.events.Events; !strings.Contains(e, "RulesNotWritten") || !strings.Contains(e, tc.want[k]) {
						t.Errorf("call %d: the event %s", k, e)
					}
				}
				if _, err := w.reconcile(t); err != nil {
					t.Errorf("call %d, again: %v", k, err)
				}
				if diff := cmp.Diff(want, w.specs(t)); diff != "" {
					t.Errorf("call %d, again (-want +got):\n%s", k, diff)
				}
			}
		})
	}
}

// TestMarkKeepsTheRest checks that a slice that is marked, and not deleted yet, is still one that agents take.
func TestMarkKeepsTheRest(t *testing.T) {
	w := newWorld(t, service(), endpointsOf("", "10.0.0.1"))
	if _, err := w.reconcile(t); err != nil {
		t.Fatal(err)
	}
	slice := func() *v1alpha1.ServiceRuleSlice {
		t.Helper()
		s := &v1alpha1.ServiceRuleSlice{}
		if err := w.api.Get(t.Context(), client.ObjectKey{Name: "default.web-v4-0"}, s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := slice()
	if err := w.api.Delete(t.Context(), service()); err != nil {
		t.Fatal(err)
	}
	w.failing(func(n int) error {
		if n == 4 {
			return errors.New("refused")
		}
		return nil
	})
	if got, err := w.reconcile(t); err == nil || !cmp.Equal(got, []string{"mark " + before.Name}) {
		t.Fatalf("%v, %v", got, err)
	}
	marked := slice()
	if err := model.CheckOrigin(marked); err != nil || !model.IsObsolete(marked) {
		t.Errorf("marked: %v, %v", model.IsObsolete(marked), err)
	}
	delete(marked.Annotations, v1alpha1.AnnotationObsolete)
	delete(marked.Annotations, corev1.EndpointsLastChangeTriggerTime) // when the Service was gone
	if diff := cmp.Diff(before.Annotations, marked.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before.Spec, marked.Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

// TestGoneMeanwhile checks that a slice that is gone, or another one of its name, is no failure.
func TestGoneMeanwhile(t *testing.T) {
	endpoints := endpointsOf("", "10.0.0.1")
	resource := schema.GroupResource{Resource: "serviceruleslices"}
	for name, tc := range map[string]struct {
		call  int
		err   error
		fails bool
	}{
		"marked: another one of its name": {3, apierrors.NewConflict(resource, "x", errors.New("uid")), false},
		"marked: refused":                 {3, apierrors.NewForbidden(resource, "x", nil), true},
		"deleted: it is gone":             {4, apierrors.NewNotFound(resource, "x"), false},
		"deleted: another one":            {4, apierrors.NewConflict(resource, "x", errors.New("uid")), true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, written(service(), endpoints)...)
			w.failing(func(n int) error {
				if n == tc.call {
					return tc.err
				}
				return nil
			})
			if _, err := w.reconcile(t); (err != nil) != tc.fails {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestStopped checks that a controller that stops does not report that it could not write.
func TestStopped(t *testing.T) {
	w := newWorld(t, service(), endpointsOf("", "10.0.0.1"))
	ctx, cancel := context.WithCancel(t.Context())
	w.failing(func(n int) error {
		if n == 3 {
			cancel()
			return ctx.Err()
		}
		return nil
	})
	if _, err := w.Reconcile(ctx, ctrl.Request{NamespacedName: webName}); !errors.Is(err, context.Canceled) || len(w.events.Events) > 0 {
		t.Errorf("got %v and %d events", err, len(w.events.Events))
	}
}

// TestWindow checks what a Service that changes again and again waits for, and when it is looked at again.
func TestWindow(t *testing.T) {
	endpoints := endpointsOf("", "10.0.0.1")
	w := newWorld(t, service(), endpoints)
	clock := w.clock.(*clocktesting.FakePassiveClock)
	step := func(what string, writes int, want time.Duration, addresses ...string) {
		t.Helper()
		if addresses != nil {
			now := endpointsOf("", addresses...)
			have := &discoveryv1.EndpointSlice{}
			if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(now), have); err != nil {
				t.Fatal(err)
			}
			now.ResourceVersion = have.ResourceVersion
			if err := w.api.Update(t.Context(), now); err != nil {
				t.Fatal(err)
			}
		}
		w.writes = nil
		result, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: webName})
		if err != nil || len(w.writes) != writes || result.RequeueAfter != want {
			t.Errorf("%s: %v, writes %v, again after %s; want %d and %s", what, err, w.writes, result.RequeueAfter, writes, want)
		}
	}
	step("the first write", 1, ssa.LookAgain)
	step("nothing to do", 0, 0)
	step("one more endpoint", 0, 50*time.Millisecond, "10.0.0.1", "10.0.0.2")
	clock.SetTime(clock.Now().Add(20 * time.Millisecond))
	step("and another one", 0, 30*time.Millisecond, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	clock.SetTime(clock.Now().Add(30 * time.Millisecond))
	step("the end of the window", 1, ssa.LookAgain)
	step("one more", 0, 100*time.Millisecond, "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
	step("one less", 1, ssa.LookAgain, "10.0.0.1", "10.0.0.2", "10.0.0.4")
}

// TestKnownParts checks that the number of parts depends on how many there are.
func TestKnownParts(t *testing.T) {
	var addresses []string
	for i := range 170 {
		addresses = append(addresses, fmt.Sprintf("10.0.0.%d", i+1))
	}
	endpoints := endpointsOf("", addresses...)
	in := compile.Input{Service: service(), EndpointSlices: []*discoveryv1.EndpointSlice{endpoints}, Parts: map[corev1.IPFamily]int32{corev1.IPv4Protocol: 2}}
	objs := []client.Object{service(), endpoints}
	for _, s := range inAPI(compile.Service(in).Slices...) {
		s.UID = types.UID(s.Name)
		objs = append(objs, s)
	}
	w := newWorld(t, objs...)
	if got, err := w.reconcile(t); err != nil || len(got) > 0 || len(objs) != 4 {
		t.Errorf("of %d parts: %v, %v", len(objs)-2, got, err)
	}
}

// TestProblemIsReported checks that what is left out of a Service is an event.
func TestProblemIsReported(t *testing.T) {
	w := newWorld(t, service(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"bad"} }), endpointsOf("", "10.0.0.1"))
	if _, err := w.reconcile(t); err != nil {
		t.Fatal(err)
	}
	if len(w.events.Events) != 1 {
		t.Fatalf("%d events", len(w.events.Events))
	}
	if e := <-w.events.Events; !strings.Contains(e, "FieldSkipped") || !strings.Contains(e, `"bad" is not an IP address`) {
		t.Error(e)
	}
}

// TestAPIServers checks that the addresses of the apiserver, and of no other Service, are known.
func TestAPIServers(t *testing.T) {
	svc := service(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.1", "192.0.2.2"} })
	of := func(namespace, name, address string) *discoveryv1.EndpointSlice {
		s := endpointsOf("", address)
		s.Namespace, s.Name, s.Labels = namespace, name, map[string]string{discoveryv1.LabelServiceName: name}
		return s
	}
	w := newWorld(t, svc, of("default", "kubernetes", "192.0.2.1"), of("other", "kubernetes", "192.0.2.2"))
	if _, err := w.reconcile(t); err != nil {
		t.Fatal(err)
	}
	if got := w.specs(t)["default.web-v4-0"].ExternalIPs; !cmp.Equal(got, []string{"192.0.2.2"}) {
		t.Errorf("external IPs %v", got)
	}
	for name, want := range map[string]bool{"default/kubernetes": true, "other/kubernetes": false, "default/web": false} {
		namespace, name, _ := strings.Cut(name, "/")
		if got := isAPIServers(of(namespace, name, "192.0.2.1")); got != want {
			t.Errorf("%s/%s is the apiserver's: %v", namespace, name, got)
		}
	}
}
