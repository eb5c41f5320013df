// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Trigger returns when the Pod or Service changed that caused the last write of an object:
// the time that the EndpointSlice controller of Kubernetes notes in the annotation
// endpoints.kubernetes.io/last-change-trigger-time. Zero: unknown.
func Trigger(obj metav1.Object) time.Time {
	t, err := time.Parse(time.RFC3339Nano, obj.GetAnnotations()[corev1.EndpointsLastChangeTriggerTime])
	if err != nil {
		return time.Time{} // a measurement is not worth an error
	}
	return t
}

// Changed returns when an object of the API was changed, as far as it shows: its Trigger, or else when
// its newest fields were written, in whole seconds. The EndpointSlice controller gives no trigger for
// a Pod that ends; a Service has none. Zero: unknown.
func Changed(obj metav1.Object) time.Time {
	if t := Trigger(obj); !t.IsZero() {
		return t
	}
	var newest time.Time
	for _, entry := range obj.GetManagedFields() {
		if entry.Time != nil && entry.Time.After(newest) {
			newest = entry.Time.Time
		}
	}
	return newest
}

// TriggerAnnotation returns the annotation that Trigger reads; nil for zero.
func TriggerAnnotation(t time.Time) map[string]string {
	if t.IsZero() {
		return nil
	}
	return map[string]string{corev1.EndpointsLastChangeTriggerTime: t.UTC().Format(time.RFC3339Nano)}
}

// Newest returns the newest time of some objects: their Trigger, or what Changed says of them.
func Newest[T metav1.Object](objs []T, of func(metav1.Object) time.Time) time.Time {
	var newest time.Time
	for _, obj := range objs {
		if t := of(obj); t.After(newest) {
			newest = t
		}
	}
	return newest
}
