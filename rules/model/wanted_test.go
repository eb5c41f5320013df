// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestWantedOf(t *testing.T) {
	http, metrics, port := "http", "metrics", int32(8080)
	yes, no := true, false
	service := func(change func(*corev1.Service)) *corev1.Service {
		svc := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1"},
			Ports: []corev1.ServicePort{{Name: http, Port: 80}}}}
		if change != nil {
			change(svc)
		}
		return svc
	}
	slice := func(name *string, port *int32, ready *bool, addresses ...string) discoveryv1.EndpointSlice {
		s := discoveryv1.EndpointSlice{Ports: []discoveryv1.EndpointPort{{Name: name, Port: port}}}
		for _, a := range addresses {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, Conditions: discoveryv1.EndpointConditions{Ready: ready}})
		}
		return s
	}
	four, both := map[corev1.IPFamily]bool{"IPv4": true}, map[corev1.IPFamily]bool{"IPv4": true, "IPv6": true}
	for name, tc := range map[string]struct {
		service *corev1.Service
		slices  []discoveryv1.EndpointSlice
		want    model.Wanted
	}{
		"no endpoints": {service(nil), nil, model.Wanted{Families: four, Endpoints: map[string]bool{}}},
		"ready, not ready, unknown, of another port": {service(nil), []discoveryv1.EndpointSlice{
			slice(&http, &port, &yes, "10.1.0.1", "010.1.0.2"), slice(&http, &port, &no, "10.1.0.3"), slice(&http, &port, nil, "10.1.0.4"),
			slice(&metrics, &port, &yes, "10.1.0.5"), slice(&http, nil, &yes, "10.1.0.6"), slice(nil, &port, &yes, "10.1.0.7"),
		}, model.Wanted{Families: four, Endpoints: map[string]bool{"10.1.0.1": true, "10.1.0.2": true, "10.1.0.4": true}}},
		"a port without a name": {service(func(s *corev1.Service) { s.Spec.Ports[0].Name = "" }),
			[]discoveryv1.EndpointSlice{slice(nil, &port, &yes, "10.1.0.1")}, model.Wanted{Families: four, Endpoints: map[string]bool{"10.1.0.1": true}}},
		"two families": {service(func(s *corev1.Service) { s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, "fd00::1") }), nil,
			model.Wanted{Families: both, Endpoints: map[string]bool{}}},
		"an old object":              {service(func(s *corev1.Service) { s.Spec.ClusterIPs = nil }), nil, model.Wanted{Families: four, Endpoints: map[string]bool{}}},
		"headless":                   {service(func(s *corev1.Service) { s.Spec.ClusterIP = "None" }), []discoveryv1.EndpointSlice{slice(&http, &port, &yes, "10.1.0.1")}, model.Wanted{}},
		"without an address":         {service(func(s *corev1.Service) { s.Spec.ClusterIP = "" }), nil, model.Wanted{}},
		"a name outside the cluster": {service(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }), nil, model.Wanted{}},
		"malformed": {service(func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"x", "10.96.0.1"} }), []discoveryv1.EndpointSlice{slice(&http, &port, &yes, "x", "10.1.0.1")},
			model.Wanted{Families: four, Endpoints: map[string]bool{"10.1.0.1": true}}},
		"a port with an empty name": {service(func(s *corev1.Service) { s.Spec.Ports[0].Name = "" }),
			[]discoveryv1.EndpointSlice{slice(new(""), &port, &yes, "10.1.0.1")}, model.Wanted{Families: four, Endpoints: map[string]bool{"10.1.0.1": true}}},
		"of another proxy": {service(func(s *corev1.Service) {
			s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
		}), nil, model.Wanted{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, model.WantedOf(tc.service, tc.slices)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
