// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestSliceName(t *testing.T) {
	long := strings.Repeat("x", 63)
	cases := map[string]struct {
		namespace, name string
		family          corev1.IPFamily
		part            int32
		want            string
	}{
		"first":       {"default", "web", corev1.IPv4Protocol, 0, "default.web-v4-0"},
		"IPv6":        {"default", "web", corev1.IPv6Protocol, 17, "default.web-v6-17"},
		"like a name": {"default", "web-v4-0", corev1.IPv4Protocol, 0, "default.web-v4-0-v4-0"},
		"ip":          {"ip", "ip", corev1.IPv6Protocol, 0, "ip.ip-v6-0"},
		"longest":     {long, long, corev1.IPv4Protocol, 65535, long + "." + long + "-v4-65535"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := model.SliceName(model.ServiceID{Namespace: tc.namespace, Name: tc.name, Family: tc.family}, tc.part)
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if problems := validation.IsDNS1123Subdomain(got); problems != nil {
				t.Errorf("the apiserver refuses it: %v", problems)
			}
		})
	}
}

// written is a slice as the controller writes it.
func written() *v1alpha1.ServiceRuleSlice {
	return &v1alpha1.ServiceRuleSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: "shop.web-v6-3",
			Labels: map[string]string{"app.kubernetes.io/managed-by": "fairlead-controller", "fairlead.dev/service-namespace": "shop",
				"fairlead.dev/service-name": "web", "theirs": "yes"},
			ManagedFields: []metav1.ManagedFieldsEntry{
				owner("kubectl-label", metav1.ManagedFieldsOperationUpdate, `{"f:metadata":{"f:labels":{"f:theirs":{}}}}`),
				owner("fairlead-controller", metav1.ManagedFieldsOperationApply, `{"f:metadata":{"f:labels":{"f:fairlead.dev/service-name":{}}},"f:spec":{}}`),
			},
		},
		Spec: v1alpha1.ServiceRuleSliceSpec{ServiceNamespace: "shop", ServiceName: "web", AddressFamily: corev1.IPv6Protocol, Part: 3, Parts: 4},
	}
}

func owner(manager string, operation metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
}

func TestCheckOrigin(t *testing.T) {
	const none = `{"f:metadata":{"f:labels":{"f:fairlead.dev/service-name":{}}}}`
	type slice = v1alpha1.ServiceRuleSlice
	cases := map[string]struct {
		change func(*slice)
		want   string // in the error; empty: no error
	}{
		"written by the controller": {func(*slice) {}, ""},
		"applied by another, too": {func(s *slice) {
			s.ManagedFields = append(s.ManagedFields, owner("kubectl", metav1.ManagedFieldsOperationApply, `{"f:spec":{}}`))
		}, ""},
		"other name":              {func(s *slice) { s.Name = "shop.web-v6-2" }, "its spec belongs to the name shop.web-v6-3"},
		"other part":              {func(s *slice) { s.Spec.Part = 2 }, "its spec belongs to the name shop.web-v6-2"},
		"other family":            {func(s *slice) { s.Spec.AddressFamily = corev1.IPv4Protocol }, "its spec belongs to the name shop.web-v4-3"},
		"other Service":           {func(s *slice) { s.Spec.ServiceName = "api" }, "its spec belongs to the name shop.api-v6-3"},
		"other namespace":         {func(s *slice) { s.Spec.ServiceNamespace = "other" }, "its spec belongs to the name other.web-v6-3"},
		"namespace and its label": {func(s *slice) { s.Spec.ServiceNamespace, s.Labels["fairlead.dev/service-namespace"] = "other", "other" }, "belongs to the name"},
		"no labels":               {func(s *slice) { s.Labels = nil }, "its label app.kubernetes.io/managed-by is not fairlead-controller"},
		"not managed":             {func(s *slice) { s.Labels["app.kubernetes.io/managed-by"] = "me" }, "its label app.kubernetes.io/managed-by is not"},
		"label of the namespace":  {func(s *slice) { s.Labels["fairlead.dev/service-namespace"] = "other" }, "its label fairlead.dev/service-namespace is not shop"},
		"label of the name":       {func(s *slice) { delete(s.Labels, "fairlead.dev/service-name") }, "its label fairlead.dev/service-name is not web"},
		"no managed fields":       {func(s *slice) { s.ManagedFields = nil }, "fairlead-controller has not written its spec"},
		"changed by kubectl edit": {func(s *slice) {
			s.ManagedFields[1] = owner("fairlead-controller", metav1.ManagedFieldsOperationApply, none)
			s.ManagedFields[0] = owner("kubectl-edit", metav1.ManagedFieldsOperationUpdate, `{"f:spec":{}}`)
		}, "kubectl-edit has written its spec, not fairlead-controller"},
		"updated, not applied": {func(s *slice) { s.ManagedFields[1].Operation = metav1.ManagedFieldsOperationUpdate },
			"has written its spec"},
		"applied by another only": {func(s *slice) { s.ManagedFields[1].Manager = "kubectl" }, "kubectl has written its spec, not fairlead-controller"},
		"fields without text":     {func(s *slice) { s.ManagedFields[1].FieldsV1 = nil }, "fairlead-controller has not written its spec"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := written()
			tc.change(s)
			err := model.CheckOrigin(s)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			model.DropManagedFields(s)
			if again := model.CheckOrigin(s); (again == nil) != (err == nil) || err != nil && again.Error() != err.Error() {
				t.Errorf("with the managed fields dropped: got %v, want %v", again, err)
			}
			if err == nil && len(s.ManagedFields) != 1 {
				t.Errorf("kept: %v", s.ManagedFields)
			}
		})
	}
}

func TestNames(t *testing.T) {
	id := model.ServiceOf(&written().Spec)
	if id.String() != "shop/web (IPv6)" || model.ServiceNameOf(&written().Spec).String() != "shop/web" {
		t.Errorf("got %s and %s", id, model.ServiceNameOf(&written().Spec))
	}
	want := written().Labels
	delete(want, "theirs")
	if got := model.SliceLabels(id); !maps.Equal(got, want) {
		t.Errorf("labels %v, want %v", got, want)
	}
}

func TestIsObsolete(t *testing.T) {
	for name, tc := range map[string]struct {
		annotations map[string]string
		want        bool
	}{
		"none":             {nil, false},
		"another":          {map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "true"}, false},
		"marked":           {map[string]string{"fairlead.dev/obsolete": "true"}, true},
		"marked as wanted": {map[string]string{"fairlead.dev/obsolete": "false"}, false},
		"no value":         {map[string]string{"fairlead.dev/obsolete": ""}, false},
		"another value":    {map[string]string{"fairlead.dev/obsolete": "True"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := written()
			s.Annotations = tc.annotations
			if got := model.IsObsolete(s); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func BenchmarkCheckOrigin(b *testing.B) {
	s := written()
	b.ReportAllocs()
	for b.Loop() {
		if err := model.CheckOrigin(s); err != nil {
			b.Fatal(err)
		}
	}
}
