// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestServiceLifecycle(t *testing.T) {
	s := newServices(t)
	svc, slice := s.service(), s.endpointSlice(2)
	create(t, svc, slice)
	s.wantWrites("apply web-v4-0")
	got := s.slices()["web-v4-0"]
	if got.Spec.ClusterIP != svc.Spec.ClusterIP || got.Spec.ServiceName != "web" || len(got.Spec.Digest) != 16 {
		t.Errorf("spec: %+v", got.Spec)
	}
	if diff := cmp.Diff([]string{address(0), address(1)}, s.endpoints()); diff != "" {
		t.Error(diff)
	}
	if err := model.CheckOrigin(&got); err != nil {
		t.Errorf("agents would refuse it: %v", err)
	}
	if uid := got.Annotations["fairlead.dev/service-uid"]; uid != string(svc.UID) || len(got.OwnerReferences) > 0 {
		t.Errorf("UID %q, owners %v: nothing in a namespace can own a cluster-scoped object", uid, got.OwnerReferences)
	}
	wantLabels := map[string]string{"fairlead.dev/service-namespace": s.ns, "fairlead.dev/service-name": "web", "app.kubernetes.io/managed-by": "fairlead-controller"}
	if diff := cmp.Diff(wantLabels, got.Labels); diff != "" {
		t.Error(diff)
	}
	s.wantWrites()

	setEndpoints(slice, 1)
	s.update(slice)
	s.wantWrites("apply web-v4-0")
	svc.Spec.Ports[0].Port = 81
	s.update(svc)
	s.wantWrites("apply web-v4-0")
	s.delete(svc)
	s.wantWrites("mark web-v4-0", "delete web-v4-0")
	s.wantWrites()
}

func TestServiceBecomesUnproxied(t *testing.T) {
	s := newServices(t)
	svc := s.service()
	create(t, svc, s.endpointSlice(2))
	s.wantWrites("apply web-v4-0")
	svc.Spec.Type, svc.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.org"
	svc.Spec.ClusterIP, svc.Spec.ClusterIPs = "", nil
	s.update(svc)
	s.wantWrites("mark web-v4-0", "delete web-v4-0")
}

// TestServiceRecreated checks that the slices get the UID of the new Service.
func TestServiceRecreated(t *testing.T) {
	s := newServices(t)
	svc, slice := s.service(), s.endpointSlice(2)
	create(t, svc, slice)
	s.wantWrites("apply web-v4-0")
	s.delete(svc)
	again := s.service()
	again.Spec.ClusterIP = svc.Spec.ClusterIP
	create(t, again)
	s.wantWrites("apply web-v4-0")
	got := s.slices()["web-v4-0"]
	if uid := got.Annotations["fairlead.dev/service-uid"]; uid != string(again.UID) {
		t.Errorf("got the UID %q, want that of the new Service, or its events are lost", uid)
	}
}

// TestRestart checks that a starting controller writes nothing if nothing has changed.
func TestRestart(t *testing.T) {
	s := newServices(t)
	create(t, s.service(), s.endpointSlice(500))
	s.reconcile()
	before := s.slices()
	if len(before) < 2 {
		t.Fatalf("got %d slices, want several", len(before))
	}
	s.restart()
	s.wantWrites()
	if diff := cmp.Diff(before, s.slices()); diff != "" {
		t.Error(diff)
	}
}

// TestStaleCache checks that objects that only the cache misses are not treated as
// deleted.
func TestStaleCache(t *testing.T) {
	isService := func(obj client.Object) bool { _, ok := obj.(*corev1.Service); return ok }
	isEndpointSlice := func(obj client.Object) bool { _, ok := obj.(*discoveryv1.EndpointSlice); return ok }
	t.Run("no Service", func(t *testing.T) {
		s := newServices(t)
		create(t, s.service(), s.endpointSlice(2))
		s.reconcile()
		s.hide, s.writes = isService, nil
		_, err := s.try()
		wantError(t, err, "the cache does not have a Service that the apiserver has")
		if len(s.writes) > 0 || len(s.endpoints()) != 2 {
			t.Errorf("writes: %v, endpoints left: %v", s.writes, s.endpoints())
		}
		s.hide = nil
		s.wantWrites()
	})
	t.Run("no EndpointSlices", func(t *testing.T) {
		s := newServices(t)
		create(t, s.service(), s.endpointSlice(2))
		s.reconcile()
		s.hide = isEndpointSlice
		s.wantWrites()
	})
	t.Run("nothing at all", func(t *testing.T) {
		s := newServices(t)
		create(t, s.service(), s.endpointSlice(2))
		s.reconcile()
		s.hide, s.writes = func(client.Object) bool { return true }, nil
		if _, err := s.try(); err != nil || len(s.writes) > 0 {
			t.Errorf("got %v, %v", s.writes, err)
		}
	})
	t.Run("given to another proxy", func(t *testing.T) {
		s := newServices(t)
		svc := s.service()
		create(t, svc, s.endpointSlice(2))
		s.reconcile()
		svc.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
		s.update(svc)
		s.hide = isService // the cache selects Services without this label
		s.wantWrites("mark web-v4-0", "delete web-v4-0")
	})
	t.Run("the apiserver cannot be asked", func(t *testing.T) {
		s := newServices(t)
		create(t, s.service(), s.endpointSlice(2))
		s.reconcile()
		live := newView(t)
		s.Live = live
		s.hide, s.writes = isService, nil
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKey{Namespace: s.ns, Name: "web"}}); err == nil {
			t.Error("got no error")
		}
		if len(s.writes) > 0 || len(s.endpoints()) != 2 {
			t.Errorf("writes: %v, endpoints left: %v", s.writes, s.endpoints())
		}
	})
	t.Run("the last endpoint is really gone", func(t *testing.T) {
		s := newServices(t)
		slice := s.endpointSlice(2)
		create(t, s.service(), slice)
		s.reconcile()
		setEndpoints(slice, 0)
		s.update(slice)
		s.wantWrites("apply web-v4-0")
		if got := s.endpoints(); len(got) != 0 {
			t.Errorf("left: %v", got)
		}
	})
}

// TestPartsGrowAndShrink checks that no endpoint is ever missing while endpoints move
// between parts.
func TestPartsGrowAndShrink(t *testing.T) {
	s := newServices(t)
	slice := s.endpointSlice(1)
	create(t, s.service(), slice)
	s.reconcile()
	last := 1
	for _, n := range []int{150, 450, 900, 1000, 300, 100, 900, 3, 700} {
		stay := min(n, last)
		s.wrote = func(write string) {
			have := s.endpoints()
			for i := range stay {
				if _, ok := slices.BinarySearch(have, address(i)); !ok {
					t.Fatalf("from %d to %d endpoints, after %q: %s is in no slice", last, n, write, address(i))
				}
			}
		}
		setEndpoints(slice, n)
		s.update(slice)
		writes := s.reconcile()
		if got := s.endpoints(); len(got) != n {
			t.Errorf("got %d endpoints, want each of %d once", len(got), n)
		}
		t.Logf("%d -> %d endpoints: %s", last, n, strings.Join(writes, ", "))
		last = n
		s.wantWrites()
	}
}

// TestCoalescing checks that only additions wait.
func TestCoalescing(t *testing.T) {
	s := newServices(t)
	svc, slice := s.service(), s.endpointSlice(1)
	create(t, svc, slice)
	s.reconcile()
	step := func(what string, wantWait bool) {
		t.Helper()
		s.writes = nil
		result, err := s.try()
		waits := result.RequeueAfter > 0 && result.RequeueAfter != ssa.LookAgain
		if err != nil || waits != wantWait || (len(s.writes) == 0) != wantWait {
			t.Errorf("%s: got %v, %v, writes %v; want waiting %v", what, result, err, s.writes, wantWait)
		}
	}
	setEndpoints(slice, 2)
	s.update(slice)
	step("addition right after a write", true)
	setEndpoints(slice, 3)
	s.update(slice)
	step("another one", true)
	s.clock.SetTime(s.clock.Now().Add(time.Second))
	step("a second later", false)
	setEndpoints(slice, 2)
	s.update(slice)
	step("removal right after a write", false)
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	s.update(svc)
	step("change of the Service right after a write", false)
	s.delete(svc)
	step("deletion right after a write", false)
}

func TestWriteFailures(t *testing.T) {
	s := newServices(t)
	svc := s.service()
	create(t, svc, s.endpointSlice(500))
	refuse := errors.New("etcdserver: no space")
	n := 0
	s.fail = func(string) error {
		if n++; n == 2 {
			return apierrors.NewInternalError(refuse)
		}
		return nil
	}
	_, err := s.try()
	wantError(t, err, refuse.Error())
	wantEvent(t, s.recorder, "Warning RulesNotWritten apply ServiceRuleSlice "+s.ns+".web-v4-")
	// The retry writes the rest at once.
	s.writes = nil
	if _, err := s.try(); err != nil || len(s.writes) == 0 || len(s.endpoints()) != 500 {
		t.Errorf("second try: got %v, writes %v, %d endpoints", err, s.writes, len(s.endpoints()))
	}

	s.delete(svc)
	s.fail = func(string) error { return apierrors.NewServiceUnavailable("away") }
	_, err = s.try()
	wantError(t, err, "away")
	s.fail = nil
	s.reconcile()
	if got := s.slices(); len(got) != 0 {
		t.Errorf("left: %v", slices.Collect(maps.Keys(got)))
	}
}

// TestOddEndpoints checks that skipped endpoints are reported once.
func TestOddEndpoints(t *testing.T) {
	s := newServices(t)
	slice := s.endpointSlice(1)
	slice.Ports[0].Port = nil
	create(t, s.service(), slice)
	s.reconcile()
	wantEvent(t, s.recorder, "Warning EndpointSkipped EndpointSlice "+s.ns+"/web-1: port \"http\" skipped")
	s.reconcile()
	wantNoEvent(t, s.recorder)
	port := int32(8080)
	slice.Ports[0].Port = &port
	s.update(slice)
	s.wantWrites("apply web-v4-0")
	wantNoEvent(t, s.recorder)
}

// TestTriggers checks that the trigger time of a change of endpoints is copied into the
// annotation of exactly the slices that contain the change.
func TestTriggers(t *testing.T) {
	s := newServices(t)
	svc, slice := s.service(), s.endpointSlice(2)
	base := time.Now().Add(time.Hour).Truncate(time.Minute) // later than all changes of the Service
	at := func(second int) string {
		return model.TriggerAnnotation(base.Add(time.Duration(second) * time.Second))[corev1.EndpointsLastChangeTriggerTime]
	}
	began := func(second int) {
		slice.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: at(second)}
	}
	want := func(second int) {
		t.Helper()
		want := at(second)
		if got := s.slices()["web-v4-0"].Annotations[corev1.EndpointsLastChangeTriggerTime]; got != want {
			t.Errorf("got the annotation %q, want %q", got, want)
		}
	}
	began(1)
	create(t, svc, slice)
	s.wantWrites("apply web-v4-0")
	want(1)

	began(2) // and nothing else
	s.update(slice)
	s.wantWrites()
	want(1)

	svc.Spec.Ports[0].Port = 81 // long after the endpoints
	s.update(svc)
	s.wantWrites("apply web-v4-0")
	want(1)

	began(3)
	setEndpoints(slice, 3)
	s.update(slice)
	s.wantWrites("apply web-v4-0")
	want(3)

	s.restart()
	svc.Spec.Ports[0].Port = 82
	s.update(svc)
	s.wantWrites("apply web-v4-0")
	want(3)

	began(5)
	setEndpoints(slice, 4)
	s.update(slice)
	s.restart() // the endpoints changed while it was down
	s.wantWrites("apply web-v4-0")
	want(5)
}

// TestTriggersWithoutAnnotation checks that a change of the Service alone, of an EndpointSlice
// whose writer gives no time, and a deletion name a time: that at which the apiserver wrote it, in
// whole seconds, or that at which the controller saw it.
func TestTriggersWithoutAnnotation(t *testing.T) {
	s := newServices(t)
	svc, slice := s.service(), s.endpointSlice(2)
	trigger := func() time.Time {
		slice := s.slices()["web-v4-0"]
		return model.Trigger(&slice)
	}
	create(t, svc)
	s.reconcile()
	if got := trigger(); !got.IsZero() {
		t.Errorf("a new Service: %s", got)
	}
	before := time.Now().Truncate(time.Second)
	create(t, slice)
	s.reconcile()
	created := trigger()
	if created.Before(before) || created.After(time.Now()) {
		t.Errorf("a new EndpointSlice: %s, not since %s", created, before)
	}
	eventually(t, "a change in another second", func(context.Context) bool { return time.Now().After(created.Add(time.Second)) })
	svc.Spec.Ports[0].Port++
	s.update(svc)
	s.reconcile()
	changed := trigger()
	if !changed.After(created) || changed.After(time.Now()) {
		t.Errorf("a change of the Service: %s, after %s", changed, created)
	}
	eventually(t, "a change in another second", func(context.Context) bool { return time.Now().After(changed.Add(time.Second)) })
	setEndpoints(slice, 0)
	s.update(slice)
	s.reconcile()
	if got := trigger(); !got.After(changed) || got.After(time.Now()) {
		t.Errorf("the last endpoint is removed: %s, after %s", got, changed)
	}
}
