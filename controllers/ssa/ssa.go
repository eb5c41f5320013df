// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ssa has the reconcilers' helpers for server-side apply.
package ssa

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// FieldOwner is the controller's field manager.
const FieldOwner = client.FieldOwner(v1alpha1.ControllerName)

// LookAgain is when a reconciler compares what it has written with the cache once more. An
// object that is created and deleted again while the cache's watch is broken, as after the
// deletion of a custom resource definition, is no event: the cache has never had it.
const LookAgain = time.Minute

// Convert converts an API type to the apply configuration (or part of one) with the
// same JSON form. Fields that the JSON form omits are not owned.
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

// Owner is a controller owner reference. It does not block the owner's deletion,
// which would need a permission on the owner's finalizers.
func Owner(apiVersion, kind string, owner metav1.Object) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().WithAPIVersion(apiVersion).WithKind(kind).
		WithName(owner.GetName()).WithUID(owner.GetUID()).WithController(true)
}

// IsOurs reports whether the controller created an object for this owner (by UID).
func IsOurs(obj, owner metav1.Object) bool {
	return obj.GetLabels()[v1alpha1.LabelManagedBy] == v1alpha1.ControllerName &&
		slices.ContainsFunc(obj.GetOwnerReferences(), func(ref metav1.OwnerReference) bool {
			return ref.UID == owner.GetUID() && ref.Controller != nil && *ref.Controller
		})
}
