// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package podenv

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

type store struct{}

func (store) ConfigMap(_ context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	if namespace != "shop" || name != "settings" {
		return nil, apierrors.NewNotFound(corev1.Resource("configmaps"), name)
	}
	return &corev1.ConfigMap{Data: map[string]string{"SIZE": "big", "not a name": "x", "COLOUR": "red"}}, nil
}

func (store) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	if namespace != "shop" || name != "keys" {
		return nil, apierrors.NewNotFound(corev1.Resource("secrets"), name)
	}
	return &corev1.Secret{Data: map[string][]byte{"TOKEN": []byte("abc")}}, nil
}

func builder() Builder {
	return Builder{
		Objects: store{},
		Downward: Downward{
			Pod: &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{
					Name: "web-1", Namespace: "shop", UID: "u-1",
					Labels: map[string]string{"app": "web", "b/c": `d"e`}, Annotations: map[string]string{"note": "n"},
				},
				Spec: corev1.PodSpec{NodeName: "node-1", ServiceAccountName: "sa"},
			},
			PodIPs: []string{"10.0.0.1", "fd00::1"}, HostIPs: []string{"10.1.0.1", "fd01::1"},
		},
		Base: []Variable{{"HOST", "10.96.0.1"}},
	}
}

func TestExpand(t *testing.T) {
	known := map[string]string{"A": "1", "B": "$(A)"}
	cases := map[string]struct{ text, want string }{
		"plain":          {"text", "text"},
		"known":          {"x$(A)y", "x1y"},
		"not again":      {"$(B)", "$(A)"},
		"unknown stays":  {"$(C)", "$(C)"},
		"escaped":        {"$$(A)", "$(A)"},
		"lonely dollar":  {"a$ $b $", "a$ $b $"},
		"not closed":     {"$(A", "$(A"},
		"two":            {"$(A)$(A)", "11"},
		"double escaped": {"$$$(A)", "$1"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := Expand(tc.text, func(name string) (string, bool) { v, ok := known[name]; return v, ok })
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestBuild(t *testing.T) {
	configMap := func(name, key string, optional *bool) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: optional,
		}}
	}
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	settings := corev1.LocalObjectReference{Name: "settings"}
	cases := map[string]struct {
		container corev1.Container
		want      []string
		wantError string
	}{
		"later wins": {
			container: corev1.Container{
				EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: settings}}},
				Env:     []corev1.EnvVar{{Name: "SIZE", Value: "small"}, {Name: "BOTH", Value: "$(SIZE)-$(HOST)-$(LATER)"}, {Name: "LATER", Value: "x"}},
			},
			want: []string{"HOST=10.96.0.1", "COLOUR=red", "SIZE=small", "BOTH=small-10.96.0.1-$(LATER)", "LATER=x"},
		},
		"prefix, and the secret": {
			container: corev1.Container{EnvFrom: []corev1.EnvFromSource{{
				Prefix: "P_", SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}},
			}}},
			want: []string{"HOST=10.96.0.1", "P_TOKEN=abc"},
		},
		"keys": {
			container: corev1.Container{Env: []corev1.EnvVar{
				{Name: "A", ValueFrom: configMap("settings", "SIZE", nil)},
				{Name: "B", ValueFrom: configMap("settings", "NONE", ptr.To(true))},
				{Name: "C", ValueFrom: configMap("none", "SIZE", ptr.To(true))},
			}},
			want: []string{"HOST=10.96.0.1", "A=big"},
		},
		"fields": {
			container: corev1.Container{Env: []corev1.EnvVar{
				{Name: "NAME", ValueFrom: field("metadata.name")}, {Name: "APP", ValueFrom: field("metadata.labels['app']")},
				{Name: "NOTE", ValueFrom: field("metadata.annotations['note']")}, {Name: "ALL", ValueFrom: field("metadata.labels")},
				{Name: "IPS", ValueFrom: field("status.podIPs")}, {Name: "IP", ValueFrom: field("status.podIP")},
				{Name: "NODE", ValueFrom: field("spec.nodeName")}, {Name: "NODEIP", ValueFrom: field("status.hostIP")},
			}},
			want: []string{
				"HOST=10.96.0.1", "NAME=web-1", "APP=web", "NOTE=n", "ALL=app=\"web\"\nb/c=\"d\\\"e\"",
				"IPS=10.0.0.1,fd00::1", "IP=10.0.0.1", "NODE=node-1", "NODEIP=10.1.0.1",
			},
		},
		"resources": {
			container: corev1.Container{
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("1500m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
				}},
				Env: []corev1.EnvVar{
					{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
					{Name: "MEM", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}}},
					{Name: "REQ", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "requests.cpu"}}},
				},
			},
			want: []string{"HOST=10.96.0.1", "CPU=2", "MEM=64", "REQ=0"},
		},
		"missing ConfigMap": {
			container: corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: configMap("none", "SIZE", nil)}}},
			wantError: `env A: configmaps "none" not found`,
		},
		"missing key": {
			container: corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: configMap("settings", "NONE", nil)}}},
			wantError: "env A: ConfigMap settings: key not found: NONE",
		},
		"unknown field": {
			container: corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: field("spec.nothing")}}},
			wantError: `env A: unknown field "spec.nothing"`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := builder()
			got, err := b.Build(t.Context(), &tc.container)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if message != tc.wantError {
				t.Fatalf("error %q, want %q", message, tc.wantError)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKubernetesService(t *testing.T) {
	service := &corev1.Service{Spec: corev1.ServiceSpec{
		ClusterIP: "fd00:96::1", Ports: []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443}},
	}}
	want := []Variable{
		{"KUBERNETES_SERVICE_HOST", "fd00:96::1"}, {"KUBERNETES_SERVICE_PORT", "443"},
		{"KUBERNETES_PORT", "tcp://[fd00:96::1]:443"}, {"KUBERNETES_SERVICE_PORT_HTTPS", "443"},
		{"KUBERNETES_PORT_443_TCP", "tcp://[fd00:96::1]:443"}, {"KUBERNETES_PORT_443_TCP_PROTO", "tcp"},
		{"KUBERNETES_PORT_443_TCP_PORT", "443"}, {"KUBERNETES_PORT_443_TCP_ADDR", "fd00:96::1"},
	}
	if diff := cmp.Diff(want, KubernetesService(service)); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
}
