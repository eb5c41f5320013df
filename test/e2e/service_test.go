// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestServiceChangedUnderWay changes every mutable field of a Service while it is in
// use.
func TestServiceChangedUnderWay(t *testing.T) {
	namespace := newNamespace(t)
	service := newEcho(t, namespace, 2)
	vip := service.Spec.ClusterIP
	change := func(what string, edit func(*corev1.ServiceSpec)) {
		t.Helper()
		t.Log(what)
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(service), service); err != nil {
			t.Fatal(err)
		}
		edit(&service.Spec)
		if err := api.Update(t.Context(), service); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	answers := func(from, address string, port int32) {
		t.Helper()
		eventually(t, 5*time.Second, func() error { return ask(from, address, port) })
	}
	refuses := func(from, address string, port int32) {
		t.Helper()
		eventually(t, 5*time.Second, func() error { return refused(from, address, port) })
	}

	change("another port", func(s *corev1.ServiceSpec) { s.Ports[0].Port, s.Ports[0].TargetPort.IntVal = 9001, echoPort })
	answers("node-2", vip, 9001)
	refuses("node-2", vip, echoPort)

	change("a node port", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort })
	nodePort := service.Spec.Ports[0].NodePort
	answers("client", "10.89.0.13", nodePort)

	change("no node port", func(s *corev1.ServiceSpec) {
		s.Type = corev1.ServiceTypeClusterIP
		s.Ports[0].NodePort = 0
	})
	answers("node-2", vip, 9001)
	refuses("client", "10.89.0.13", nodePort)

	change("a selector that matches nothing", func(s *corev1.ServiceSpec) { s.Selector = map[string]string{"app": "none"} })
	refuses("node-2", vip, 9001)
	change("the selector back", func(s *corev1.ServiceSpec) { s.Selector = map[string]string{"app": "echo"} })
	answers("node-2", vip, 9001)

	change("an ExternalName", func(s *corev1.ServiceSpec) {
		s.Type, s.ExternalName = corev1.ServiceTypeExternalName, "example.org"
		s.ClusterIP, s.ClusterIPs, s.IPFamilies, s.IPFamilyPolicy = "", nil, nil, nil
	})
	eventually(t, 5*time.Second, func() error {
		if ask("node-2", vip, 9001) == nil {
			return errors.New("still answers")
		}
		return nil
	})
	change("a ClusterIP again", func(s *corev1.ServiceSpec) { s.Type, s.ExternalName = corev1.ServiceTypeClusterIP, "" })
	answers("node-2", service.Spec.ClusterIP, 9001)

	for _, node := range []string{"node-1", "node-2", "node-3"} {
		wantKernel(t, node)
	}
}

// TestOddEndpointSlice adds endpoints to a Service that the apiserver accepts and a
// kernel cannot use. They must be skipped with an event, without other effects.
func TestOddEndpointSlice(t *testing.T) {
	namespace := newNamespace(t)
	service := newEcho(t, namespace, 1)
	odd := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "odd",
			Labels: map[string]string{discoveryv1.LabelServiceName: "echo", discoveryv1.LabelManagedBy: "e2e"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.244.9.9"}}},
		// No number means all ports: valid in the API, but no rule can express it.
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To("tcp"), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	if err := api.Create(t.Context(), odd); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() error {
		var list eventsv1.EventList
		if err := api.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Regarding.Kind == "Service" && e.Regarding.Name == "echo" && strings.Contains(e.Note, "must be within 1-65535") {
				return nil
			}
		}
		return fmt.Errorf("no event names the fix among %d", len(list.Items))
	})
	for range 20 {
		if err := ask("node-1", service.Spec.ClusterIP, echoPort); err != nil {
			t.Fatalf("the good endpoint: %v", err)
		}
	}
	wantKernel(t, "node-1")
}
