// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// ServiceOf returns the Service, in one address family, that a slice is of.
func ServiceOf(spec *v1alpha1.ServiceRuleSliceSpec) ServiceID {
	return ServiceID{Namespace: spec.ServiceNamespace, Name: spec.ServiceName, Family: spec.AddressFamily}
}

// ServiceNameOf returns the name of the Service that a slice is of.
func ServiceNameOf(spec *v1alpha1.ServiceRuleSliceSpec) types.NamespacedName {
	return types.NamespacedName{Namespace: spec.ServiceNamespace, Name: spec.ServiceName}
}

// SliceName is the name of a part of a Service's rules, for example default.web-v4-0.
// Namespaces and names of Services have no dots and at most 63 bytes, so it is unique and
// has at most 136.
func SliceName(id ServiceID, part int32) string {
	family := strings.Replace(strings.ToLower(string(id.Family)), "ip", "", 1)
	return id.Namespace + "." + id.Name + "-" + family + "-" + strconv.Itoa(int(part))
}

// SliceNameOf is the name of the slice that has a spec.
func SliceNameOf(spec *v1alpha1.ServiceRuleSliceSpec) string {
	return SliceName(ServiceOf(spec), spec.Part)
}

// SliceLabels are the labels of the slices of a Service.
func SliceLabels(id ServiceID) map[string]string {
	return map[string]string{
		v1alpha1.LabelManagedBy:        v1alpha1.ControllerName,
		v1alpha1.LabelServiceNamespace: id.Namespace,
		v1alpha1.LabelServiceName:      id.Name,
	}
}

// CheckOrigin returns why a slice is not one that the controller has written, or has been
// changed since: its name and labels must follow from its spec, and the controller must
// have applied the spec. This finds mistakes and hand-made slices. It is no defence against
// a client that may write slices and pretends to be the controller; admission is (see
// config/admission).
//
// A field manager that has applied an equal spec owns it beside the controller. That is
// allowed: a manager that changes the spec takes it from all others.
func CheckOrigin(slice *v1alpha1.ServiceRuleSlice) error {
	id := ServiceOf(&slice.Spec)
	if want := SliceNameOf(&slice.Spec); slice.Name != want {
		return fmt.Errorf("its spec belongs to the name %s", want)
	}
	for _, label := range [...]struct{ key, want string }{
		{v1alpha1.LabelManagedBy, v1alpha1.ControllerName},
		{v1alpha1.LabelServiceNamespace, id.Namespace},
		{v1alpha1.LabelServiceName, id.Name},
	} {
		if slice.Labels[label.key] != label.want {
			return fmt.Errorf("its label %s is not %s", label.key, label.want)
		}
	}
	if appliedByController(slice.ManagedFields) {
		return nil
	}
	for i := range slice.ManagedFields {
		if ownsSpec(&slice.ManagedFields[i]) {
			return fmt.Errorf("%s has written its spec, not %s", slice.ManagedFields[i].Manager, v1alpha1.ControllerName)
		}
	}
	return fmt.Errorf("%s has not written its spec", v1alpha1.ControllerName)
}

// IsObsolete says whether the controller has marked a slice before its deletion.
func IsObsolete(slice *v1alpha1.ServiceRuleSlice) bool {
	return slice.Annotations[v1alpha1.AnnotationObsolete] == "true"
}

// DropManagedFields drops all of a slice's managedFields that CheckOrigin does not need. So
// thousands of slices in memory share one entry.
func DropManagedFields(slice *v1alpha1.ServiceRuleSlice) {
	if appliedByController(slice.ManagedFields) {
		slice.ManagedFields = applied
	}
}

var applied = []metav1.ManagedFieldsEntry{{
	Manager: v1alpha1.ControllerName, Operation: metav1.ManagedFieldsOperationApply, APIVersion: v1alpha1.GroupVersion.String(),
	FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`),
}}

func appliedByController(entries []metav1.ManagedFieldsEntry) bool {
	for i := range entries {
		e := &entries[i]
		if e.Manager == v1alpha1.ControllerName && e.Operation == metav1.ManagedFieldsOperationApply && ownsSpec(e) {
			return true
		}
	}
	return false
}

// ownsSpec searches the text, because to decode it for each slice of a list would cost
// more than to decode the slice. The spec is atomic, so an owner has all of it. No other
// field that the controller applies has this name.
func ownsSpec(e *metav1.ManagedFieldsEntry) bool {
	return e.FieldsV1 != nil && bytes.Contains(e.FieldsV1.GetRawBytes(), []byte(`"f:spec"`))
}
