// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// installed returns all policies with their bindings.
func installed() []client.Object {
	var out []client.Object
	for _, name := range policies {
		out = append(out, &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}},
			&admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name,
					ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Audit, admissionregistrationv1.Deny}}})
	}
	return out
}

// TestProtectionIsReadRarely checks when the policies are read: once a minute, whatever the answer.
func TestProtectionIsReadRarely(t *testing.T) {
	noAPI := &apimeta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicy"}}
	type step struct {
		after time.Duration // the step before
		reads int           // so far
		next  time.Duration
	}
	for name, tc := range map[string]struct {
		answer error
		want   string
		steps  []step
	}{
		"enforced": {nil, v1alpha1.ReasonPoliciesEnforced, []step{
			{0, 10, time.Minute}, {0, 10, time.Minute}, {59 * time.Second, 10, time.Second}, {time.Second, 20, time.Minute}}},
		"no API":    {noAPI, v1alpha1.ReasonPoliciesUnknown, []step{{0, 1, time.Minute}, {20 * time.Second, 1, 40 * time.Second}, {40 * time.Second, 2, time.Minute}}},
		"no answer": {errors.New("no answer"), v1alpha1.ReasonPoliciesUnknown, []step{{0, 1, time.Minute}, {time.Hour, 2, time.Minute}}},
	} {
		t.Run(name, func(t *testing.T) {
			reads := 0
			live := interceptor.NewClient(apiWith(t, installed()...), interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
					if _, ok := ctx.Deadline(); !ok {
						t.Error("a read without a timeout")
					}
					reads++
					if tc.answer != nil {
						return tc.answer
					}
					return c.Get(ctx, key, obj, opts...)
				},
			})
			p, at := protection{live: live}, now
			for i, s := range tc.steps {
				at = at.Add(s.after)
				c, next := p.at(t.Context(), at)
				if diff := cmp.Diff([]any{tc.want, s.reads, s.next}, []any{c.Reason, reads, next}); diff != "" {
					t.Errorf("step %d: reason, reads, next (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}
