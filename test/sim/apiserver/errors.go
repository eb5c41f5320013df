// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func statusOf(code int32, reason metav1.StatusReason, message string, d *metav1.StatusDetails) *metav1.Status {
	return &metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: code, Reason: reason, Message: message, Details: d}
}

func details(r *resource, name string) *metav1.StatusDetails {
	return &metav1.StatusDetails{Name: name, Kind: r.Resource}
}

func notFound(r *resource, name string) *metav1.Status {
	return statusOf(http.StatusNotFound, metav1.StatusReasonNotFound, r.Resource+" "+name+" not found", details(r, name))
}

func conflict(r *resource, name, message string) *metav1.Status {
	return statusOf(http.StatusConflict, metav1.StatusReasonConflict, message, details(r, name))
}

func expired() *metav1.Status {
	return statusOf(http.StatusGone, metav1.StatusReasonExpired, "too old resource version", nil)
}

func tooLarge() *metav1.Status {
	return statusOf(http.StatusGatewayTimeout, metav1.StatusReasonTimeout, "Too large resource version", &metav1.StatusDetails{
		Causes: []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}})
}

// unavailable is the answer of an apiserver that fails.
func unavailable() *metav1.Status {
	return statusOf(http.StatusInternalServerError, metav1.StatusReasonInternalError, "the simulated apiserver fails", nil)
}

func asError(s *metav1.Status) error {
	if s == nil {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: *s}
}
