// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// policies are the admission policies that config/default and config/admission-olm install. A
// binding has the name of its policy.
var policies = []string{
	"fairlead-agent-daemonset.fairlead.dev",
	"fairlead-agent-image.fairlead.dev",
	"fairlead-agent-status.fairlead.dev",
	"fairlead-revisions.fairlead.dev",
	"fairlead-rules.fairlead.dev",
}

// The right is on these names. A watch would need one on the policies of all others.
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicies;validatingadmissionpolicybindings,resourceNames=fairlead-agent-daemonset.fairlead.dev;fairlead-agent-image.fairlead.dev;fairlead-agent-status.fairlead.dev;fairlead-revisions.fairlead.dev;fairlead-rules.fairlead.dev,verbs=get

const (
	// protectionPeriod is the time between two looks at the policies.
	protectionPeriod = time.Minute

	// protectionTimeout is the time that a look may take.
	protectionTimeout = 10 * time.Second
)

// protection is the condition Protected, as of the last look at the policies.
type protection struct {
	live      client.Reader
	condition metav1.Condition
	checked   time.Time // zero: never
}

// at returns the condition, and after which time to look again.
func (p *protection) at(ctx context.Context, now time.Time) (metav1.Condition, time.Duration) {
	if p.checked.IsZero() || now.Sub(p.checked) >= protectionPeriod {
		p.condition, p.checked = protected(ctx, p.live), now
	}
	return p.condition, p.checked.Add(protectionPeriod).Sub(now)
}

// protected reads all policies. What cannot be found out is no error: it would delay the rest
// of the status, and an apiserver without the right or the API stays so.
func protected(ctx context.Context, live client.Reader) metav1.Condition {
	ctx, cancel := context.WithTimeout(ctx, protectionTimeout)
	defer cancel()
	c := metav1.Condition{Type: v1alpha1.ConditionProtected, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonPoliciesEnforced,
		Message: "The admission policies of the installation are enforced"}
	var missing []string
	for _, name := range policies {
		enforced, err := isEnforced(ctx, live, name)
		if err != nil {
			c.Status, c.Reason = metav1.ConditionUnknown, v1alpha1.ReasonPoliciesUnknown
			c.Message = fmt.Sprintf("Cannot read the admission policy %s: %v", name, err)
			return c
		}
		if !enforced {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonPoliciesMissing
		c.Message = "Run `kubectl apply --server-side -k config/admission-olm` to enforce " +
			strings.Join(missing, ", ")
	}
	return c
}

// isEnforced says whether a policy exists, and a binding of its name that denies what it refuses.
func isEnforced(ctx context.Context, live client.Reader, name string) (bool, error) {
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
	for _, obj := range []client.Object{&admissionregistrationv1.ValidatingAdmissionPolicy{}, binding} {
		if err := live.Get(ctx, client.ObjectKey{Name: name}, obj); err != nil {
			return false, client.IgnoreNotFound(err)
		}
	}
	return binding.Spec.PolicyName == name && slices.Contains(binding.Spec.ValidationActions, admissionregistrationv1.Deny), nil
}
