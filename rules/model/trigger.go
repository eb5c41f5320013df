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

// TriggerAnnotation returns the annotation that Trigger reads; nil for zero.
func TriggerAnnotation(t time.Time) map[string]string {
	if t.IsZero() {
		return nil
	}
	return map[string]string{corev1.EndpointsLastChangeTriggerTime: t.UTC().Format(time.RFC3339Nano)}
}

// NewestTrigger returns the newest Trigger of some objects.
func NewestTrigger[T metav1.Object](objs []T) time.Time {
	var newest time.Time
	for _, obj := range objs {
		if t := Trigger(obj); t.After(newest) {
			newest = t
		}
	}
	return newest
}
