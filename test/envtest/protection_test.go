// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/proxyconfig"
)

// admissionNames are those of the policies of config/default, and of their bindings.
var admissionNames = []string{"fairlead-agent-daemonset.fairlead.dev", "fairlead-agent-image.fairlead.dev",
	"fairlead-agent-status.fairlead.dev", "fairlead-revisions.fairlead.dev", "fairlead-rules.fairlead.dev"}

// policyObjects returns all policies and bindings that are there.
func policyObjects(t *testing.T) []client.Object {
	t.Helper()
	var out []client.Object
	for _, name := range admissionNames {
		for _, obj := range []client.Object{&admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}} {
			switch err := api.Get(t.Context(), client.ObjectKey{Name: name}, obj); {
			case err == nil:
				out = append(out, obj)
			case client.IgnoreNotFound(err) != nil:
				t.Fatal(err)
			}
		}
	}
	return out
}

// removePolicies deletes what has one of some names.
func removePolicies(names ...string) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		for _, obj := range policyObjects(t) {
			for _, name := range names {
				if obj.GetName() == name {
					remove(t, obj)
				}
			}
		}
	}
}

// changeBinding changes the binding of a name.
func changeBinding(name string, change func(*admissionregistrationv1.ValidatingAdmissionPolicyBinding)) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		b := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
		if err := api.Get(t.Context(), client.ObjectKey{Name: name}, b); err != nil {
			t.Fatal(err)
		}
		change(b)
		update(t, b)
	}
}

func missingPolicies(names ...string) metav1.Condition {
	return metav1.Condition{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonPoliciesMissing,
		Message: "Run `kubectl apply --server-side -k config/admission-olm` to enforce " + strings.Join(names, ", ")}
}

var enforcedPolicies = metav1.Condition{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonPoliciesEnforced,
	Message: "The admission policies of the installation are enforced"}

// protectionCases are changes of what config/default installs, and the condition Protected.
var protectionCases = map[string]struct {
	change func(t *testing.T)
	user   func(t *testing.T) string // who reads; absent: the controller
	want   metav1.Condition
}{
	"all is there": {want: enforcedPolicies},
	"a policy is gone": {
		change: func(t *testing.T) {
			remove(t, &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-rules.fairlead.dev"}})
		},
		want: missingPolicies("fairlead-rules.fairlead.dev"),
	},
	"a binding is gone": {
		change: func(t *testing.T) {
			remove(t, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-agent-status.fairlead.dev"}})
		},
		want: missingPolicies("fairlead-agent-status.fairlead.dev"),
	},
	"a binding warns only": {
		change: changeBinding("fairlead-agent-image.fairlead.dev", func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
			b.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Warn, admissionregistrationv1.Audit}
		}),
		want: missingPolicies("fairlead-agent-image.fairlead.dev"),
	},
	"a binding of another policy": {
		change: changeBinding("fairlead-agent-daemonset.fairlead.dev", func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
			b.Spec.PolicyName = "fairlead-rules.fairlead.dev"
		}),
		want: missingPolicies("fairlead-agent-daemonset.fairlead.dev"),
	},
	"two are gone":       {change: removePolicies(admissionNames[:2]...), want: missingPolicies(admissionNames[:2]...)},
	"as OLM installs it": {change: removePolicies(admissionNames...), user: underOLM, want: missingPolicies(admissionNames...)},
	"under OLM, applied": {user: underOLM, want: enforcedPolicies},
	"without the right": {
		user: func(*testing.T) string { return serviceAccount("fairlead-agent") },
		want: metav1.Condition{Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonPoliciesUnknown,
			Message: "Cannot read the admission policy fairlead-agent-daemonset.fairlead.dev: " +
				`validatingadmissionpolicies.admissionregistration.k8s.io "fairlead-agent-daemonset.fairlead.dev" is forbidden`},
	},
}

func underOLM(t *testing.T) string { return installedByOLM(t, namespace(t)) }

// TestProtected checks that a ProxyConfig says which admission policies are missing, with the
// rights that the controller has.
func TestProtected(t *testing.T) {
	deploy(t)
	if n := len(policyObjects(t)); n != 2*len(admissionNames) {
		t.Fatalf("config/default installs %d policies and bindings", n)
	}
	keepParamInformer(t)
	config := policy("protected", "none", 0)
	create(t, config)
	for name, tc := range protectionCases {
		t.Run(name, func(t *testing.T) {
			user := serviceAccount("fairlead-controller-manager")
			if tc.user != nil {
				user = tc.user(t)
			}
			live, err := client.New(as(user), client.Options{Scheme: api.Scheme()})
			if err != nil {
				t.Fatal(err)
			}
			if tc.change != nil {
				tc.change(t)
			}
			var diff string
			// Authorization takes effect after a moment.
			t.Cleanup(func() {
				if diff != "" {
					t.Errorf("Protected (-want +got):\n%s", diff)
				}
			})
			eventually(t, "the condition", func(ctx context.Context) bool {
				diff = cmp.Diff(tc.want, protectedOf(ctx, t, config, live))
				return diff == ""
			})
		})
		if tc.change != nil {
			// "kubectl apply" takes no fields from other managers: all are created again.
			removePolicies(admissionNames...)(t)
			deploy(t)
		}
	}
}

// keepParamInformer has another policy with a Deployment as its parameter. If none has a binding,
// the apiserver stops its informer of Deployments for good: later policies see the Deployments of
// that moment until the apiserver restarts (kubernetes#130887).
func keepParamInformer(t *testing.T) {
	t.Helper()
	const name = "keep-param-informer.example.com"
	create(t, &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			ParamKind: &admissionregistrationv1.ParamKind{APIVersion: "apps/v1", Kind: "Deployment"},
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"example.com"}, APIVersions: []string{"v1"}, Resources: []string{"nothings"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "true"}},
		},
	}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
			ParamRef: &admissionregistrationv1.ParamRef{Name: "fairlead-controller-manager", Namespace: systemNamespace,
				ParameterNotFoundAction: ptr.To(admissionregistrationv1.AllowAction)},
		},
	})
}

// protectedOf has a controller that has just started write the status, and returns the condition
// Protected: status, reason, and message up to what RBAC forbids.
func protectedOf(ctx context.Context, t *testing.T, config *v1alpha1.ProxyConfig, live client.Reader) metav1.Condition {
	t.Helper()
	r := proxyconfig.New(newView(t), live, clocktesting.NewFakePassiveClock(time.Now()), time.Hour)
	result, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(config)})
	if err != nil || result.RequeueAfter != time.Minute {
		t.Fatalf("error %v, again after %s", err, result.RequeueAfter)
	}
	got := &v1alpha1.ProxyConfig{}
	if err := api.Get(ctx, client.ObjectKeyFromObject(config), got); err != nil {
		t.Fatal(err)
	}
	c := apimeta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionProtected)
	if c == nil || c.LastTransitionTime.Unix() == 0 {
		t.Fatalf("conditions: %+v", got.Status.Conditions)
	}
	message, _, _ := strings.Cut(c.Message, " is forbidden: ")
	if message != c.Message {
		message += " is forbidden"
	}
	return metav1.Condition{Status: c.Status, Reason: c.Reason, Message: message}
}
