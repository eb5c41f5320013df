// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ssa holds what the reconcilers share for writing by server-side apply.
package ssa

import (
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// FieldOwner is the name under which the controller owns fields.
	FieldOwner = client.FieldOwner("fairlead-controller")

	// LabelManagedBy marks the objects that the controller made and may delete.
	LabelManagedBy = "app.kubernetes.io/managed-by"

	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "fairlead-controller"
)

// Convert makes an apply configuration (or a part of one) of the API type that
// has the same JSON form. Fields that the JSON form omits are not owned.
func Convert[T any](from any) (*T, error) {
	text, err := json.Marshal(from)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", from, err)
	}
	to := new(T)
	if err := json.Unmarshal(text, to); err != nil {
		return nil, fmt.Errorf("decode %T as %T: %w", from, to, err)
	}
	return to, nil
}

// Owner is an owner reference of a controller. It does not block the owner's
// deletion: that would need a permission on the owner's finalizers.
func Owner(apiVersion, kind string, owner metav1.Object) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().WithAPIVersion(apiVersion).WithKind(kind).
		WithName(owner.GetName()).WithUID(owner.GetUID()).WithController(true)
}

// IsOurs says whether the controller made an object for this very owner.
func IsOurs(obj, owner metav1.Object) bool {
	return obj.GetLabels()[LabelManagedBy] == ManagedBy &&
		slices.ContainsFunc(obj.GetOwnerReferences(), func(ref metav1.OwnerReference) bool {
			return ref.UID == owner.GetUID() && ref.Controller != nil && *ref.Controller
		})
}
