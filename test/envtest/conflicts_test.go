// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestAddressConflict gives a Service the cluster IP of another Service, in another
// namespace, as its external IP: the loser gets one event, whichever is reconciled.
func TestAddressConflict(t *testing.T) {
	s := newServices(t)
	web := s.service()
	create(t, web)
	s.reconcile()
	wantNoEvent(t, s.recorder)

	greedy := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace(t), Name: "greedy"},
		Spec: corev1.ServiceSpec{ExternalIPs: []string{web.Spec.ClusterIP},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	create(t, greedy)
	reconcile := func() {
		t.Helper()
		if _, err := s.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(greedy)}); err != nil {
			t.Fatal(err)
		}
	}
	wantNote := "Warning AddressConflict " + web.Spec.ClusterIP + ":80/tcp is also the ClusterIP of Service " + s.ns + "/web, "
	reconcile()
	wantEvent(t, s.recorder, wantNote)
	reconcile()
	wantNoEvent(t, s.recorder)
	s.reconcile()
	wantEvent(t, s.recorder, wantNote)
	s.reconcile()
	wantNoEvent(t, s.recorder)

	greedy.Spec.ExternalIPs = nil
	s.update(greedy)
	reconcile()
	s.reconcile()
	wantNoEvent(t, s.recorder)
	greedy.Spec.ExternalIPs = []string{web.Spec.ClusterIP}
	s.update(greedy)
	s.clock.SetTime(s.clock.Now().Add(1e9))
	reconcile()
	wantEvent(t, s.recorder, wantNote)
}
