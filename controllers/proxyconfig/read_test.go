// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	apiac "github.com/fairlead-proxy/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// TestReads checks that the status says what the API holds of nodes, their rules, rollouts and
// heartbeats, and that it is written once.
func TestReads(t *testing.T) {
	f := newFixture(everywhere).node("a", true).set("a", 7, good).node("b", true).set("b", 0)
	config := f.in.configs[0]
	config.UID = "uid"
	config.Spec.Rollout.Strategy = v1alpha1.Staged
	o := &v1alpha1.ProxyRollout{ObjectMeta: metav1.ObjectMeta{Name: rollout.RevisionOf(&config).Name, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ControllerName},
		OwnerReferences: []metav1.OwnerReference{{UID: "uid", Controller: ptr.To(true)}}},
		Status: v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutSoaking, Stage: "canary"}}
	objects := []client.Object{f.in.nodes[0], f.in.nodes[1], f.in.sets["a"], f.in.sets["b"], o}
	refused := ""
	var written []v1alpha1.ProxyConfigStatus
	reconcile := func() (ctrl.Result, error) {
		api := interceptor.NewClient(apiWith(t, append([]client.Object{config.DeepCopy()}, objects...)...), interceptor.Funcs{
			List: func(ctx context.Context, in client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				if fmt.Sprintf("%T", list) == refused {
					return errors.New("no answer")
				}
				return in.List(ctx, list, opts...)
			},
			SubResourceApply: func(_ context.Context, _ client.Client, _ string, obj runtime.ApplyConfiguration, _ ...client.SubResourceApplyOption) error {
				status, err := ssa.Convert[v1alpha1.ProxyConfigStatus](obj.(*apiac.ProxyConfigApplyConfiguration).Status)
				if err != nil {
					t.Error(err)
				}
				written = append(written, *status)
				return nil
			},
		})
		r := New(api, api, clocktesting.NewFakePassiveClock(now), time.Minute)
		r.heartbeats.last = map[string]time.Time{"a": now.Add(-45 * time.Second), "b": now.Add(-time.Hour)}
		return r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: "default"}})
	}
	result, err := reconcile()
	if err != nil || len(written) != 1 || result.RequeueAfter != 15*time.Second {
		t.Fatalf("%d writes, again after %s, error %v; want one, and again when a is silent", len(written), result.RequeueAfter, err)
	}
	got := written[0]
	if diff := cmp.Diff(&v1alpha1.NodeCounts{Selected: 2, Programmed: 1, NotReady: 1}, got.Nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&v1alpha1.RolloutSummary{Name: o.Name, Phase: v1alpha1.RolloutSoaking, Stage: "canary"}, got.Rollout); diff != "" {
		t.Errorf("rollout (-want +got):\n%s", diff)
	}
	config.Status = got
	if result, err := reconcile(); err != nil || len(written) != 1 || result.RequeueAfter != 15*time.Second {
		t.Errorf("once more: %d writes, again after %s, error %v", len(written), result.RequeueAfter, err)
	}
	refused = "*v1alpha1.ProxyRolloutList"
	if _, err := reconcile(); err == nil {
		t.Error("no error, though rollouts cannot be listed")
	}
}

// TestEnqueueAll checks that each event of what all depend on reconciles all.
func TestEnqueueAll(t *testing.T) {
	r := New(apiWith(t, &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "b"}}),
		nil, clocktesting.NewFakePassiveClock(now), time.Minute)
	h, set := r.enqueueAll(delay), &v1alpha1.NodeRuleSet{}
	for name, do := range map[string]func(queue){
		"created": func(q queue) { h.Create(t.Context(), event.CreateEvent{Object: set}, q) },
		"changed": func(q queue) { h.Update(t.Context(), event.UpdateEvent{ObjectOld: set, ObjectNew: set}, q) },
		"deleted": func(q queue) { h.Delete(t.Context(), event.DeleteEvent{Object: set}, q) },
	} {
		q := &counted{}
		if do(q); q.added != 2 {
			t.Errorf("%s: %d added", name, q.added)
		}
	}
}

// TestProtected checks what the condition says of policies that are missing or enforce nothing.
func TestProtected(t *testing.T) {
	binding := func(change func(*admissionregistrationv1.ValidatingAdmissionPolicyBinding)) []client.Object {
		out := installed()
		change(out[1].(*admissionregistrationv1.ValidatingAdmissionPolicyBinding))
		return out
	}
	const missing = "Run `kubectl apply --server-side -k config/admission-olm` to enforce "
	for name, c := range map[string]struct {
		objects []client.Object
		fails   bool
		want    metav1.Condition
	}{
		"enforced": {installed(), false, metav1.Condition{Status: "True", Reason: v1alpha1.ReasonPoliciesEnforced, Message: "The admission policies of the installation are enforced"}},
		"none":     {nil, false, metav1.Condition{Status: "False", Reason: v1alpha1.ReasonPoliciesMissing, Message: missing + strings.Join(policies, ", ")}},
		"a policy": {installed()[1:], false, metav1.Condition{Status: "False", Reason: v1alpha1.ReasonPoliciesMissing, Message: missing + policies[0]}},
		"a binding": {append(installed()[:1:1], installed()[2:]...), false,
			metav1.Condition{Status: "False", Reason: v1alpha1.ReasonPoliciesMissing, Message: missing + policies[0]}},
		"a binding of another": {binding(func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) { b.Spec.PolicyName = "other" }), false,
			metav1.Condition{Status: "False", Reason: v1alpha1.ReasonPoliciesMissing, Message: missing + policies[0]}},
		"one that only warns": {binding(func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
			b.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Warn}
		}), false, metav1.Condition{Status: "False", Reason: v1alpha1.ReasonPoliciesMissing, Message: missing + policies[0]}},
		"no answer": {installed(), true, metav1.Condition{Status: "Unknown", Reason: v1alpha1.ReasonPoliciesUnknown, Message: "Cannot read the admission policy " + policies[0] + ": no answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			live := interceptor.NewClient(apiWith(t, c.objects...), interceptor.Funcs{
				Get: func(ctx context.Context, in client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
					if c.fails {
						return errors.New("no answer")
					}
					return in.Get(ctx, key, obj, opts...)
				}})
			c.want.Type = v1alpha1.ConditionProtected
			if diff := cmp.Diff(c.want, protected(t.Context(), live)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRolling checks what Progressing says of a rollout.
func TestRolling(t *testing.T) {
	const name = "default-1"
	says := []metav1.Condition{{Type: v1alpha1.ConditionProgressing, Status: metav1.ConditionTrue, Message: "nodes verify it"}}
	for what, c := range map[string]struct {
		status v1alpha1.ProxyRolloutStatus
		want   string
	}{
		"not begun":  {v1alpha1.ProxyRolloutStatus{}, "True RolloutPending ProxyRollout default-1"},
		"in a stage": {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutSoaking, Stage: "one"}, "True RolloutSoaking ProxyRollout default-1, stage one"},
		"it says more": {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutVerifying, Stage: "one", Conditions: says},
			"True RolloutVerifying ProxyRollout default-1, stage one: nodes verify it"},
		"it says more of no stage": {v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutBlocked, Conditions: says}, "False RolloutBlocked ProxyRollout default-1: nodes verify it"},
	} {
		t.Run(what, func(t *testing.T) {
			got := rolling(&v1alpha1.ProxyRollout{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: c.status})
			if text := fmt.Sprintf("%s %s %s", got.Status, got.Reason, got.Message); text != c.want || got.Type != v1alpha1.ConditionProgressing {
				t.Errorf("%s: %s, want %s", got.Type, text, c.want)
			}
		})
	}
}

// TestFailedNodesOfARollout checks how many nodes have failed, as far as the rollout lists them.
func TestFailedNodesOfARollout(t *testing.T) {
	for n, want := range map[int]string{1: "on 1 node;", 2: "on 2 nodes;", 9: "on 9 nodes;", maxListedNodes: "on 10 nodes or more;"} {
		o := &v1alpha1.ProxyRollout{}
		for range n {
			o.Status.FailedNodes = append(o.Status.FailedNodes, v1alpha1.FailingNode{Name: "a"})
		}
		if c := degraded(nil, o); !strings.Contains(c.Message, want) {
			t.Errorf("%d: %s", n, c.Message)
		}
	}
}

// TestStateOf checks what of a node's report counts.
func TestStateOf(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*corev1.Node, *v1alpha1.NodeRuleSet)
		want   string
	}{
		"programmed":         {func(*corev1.Node, *v1alpha1.NodeRuleSet) {}, "programmed"},
		"it says nothing":    {func(_ *corev1.Node, s *v1alpha1.NodeRuleSet) { s.Status.Conditions = nil }, "pending"},
		"without its policy": {func(_ *corev1.Node, s *v1alpha1.NodeRuleSet) { s.Status.Policy = nil }, "pending"},
		"another policy's":   {func(_ *corev1.Node, s *v1alpha1.NodeRuleSet) { s.Status.Policy.Name = "other" }, "pending"},
		"an older policy":    {func(_ *corev1.Node, s *v1alpha1.NodeRuleSet) { s.Status.Policy.Generation-- }, "pending"},
		"a failure": {func(_ *corev1.Node, s *v1alpha1.NodeRuleSet) {
			s.Status.Conditions[0].Status, s.Status.Conditions[0].Reason = "False", "KernelError"
		}, "failed"},
		"a failure, and not ready": {func(n *corev1.Node, s *v1alpha1.NodeRuleSet) {
			s.Status.Conditions[0].Status, n.Status.Conditions[0].Status = "False", "False"
		}, "nothing"},
		"a failure of another policy's": {func(_ *corev1.Node, s *v1alpha1.NodeRuleSet) {
			s.Status.Conditions[0].Status, s.Status.Conditions[0].Reason, s.Spec.Policy.Name = "False", "KernelError", "other"
		}, "pending"},
		"degraded": {func(_ *corev1.Node, s *v1alpha1.NodeRuleSet) {
			s.Status.Conditions = append(s.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionDegraded, Status: metav1.ConditionTrue})
		}, "programmed degraded"},
		"healthy": {func(_ *corev1.Node, s *v1alpha1.NodeRuleSet) {
			s.Status.Conditions = append(s.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionDegraded, Status: metav1.ConditionFalse})
		}, "programmed"},
		"not ready by another condition": {func(n *corev1.Node, s *v1alpha1.NodeRuleSet) {
			s.Status.Conditions = nil
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionTrue}}
		}, "nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(everywhere).node("a", true).set("a", 7, good)
			set := f.in.sets["a"]
			set.Status.Policy = ptr.To(*set.Status.Policy)
			c.change(f.in.nodes[0], set)
			s := stateOf(&f.in.configs[0], f.in.nodes[0], set)
			got := "nothing"
			switch {
			case s.programmed:
				got = "programmed"
			case s.failed != nil:
				got = "failed"
			case s.pending():
				got = "pending"
			}
			if s.degraded != nil {
				got += " degraded"
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestOverriddenByMany checks that the winners are named in order.
func TestOverriddenByMany(t *testing.T) {
	f := newFixture(everywhere)
	for _, name := range []string{"d", "b", "e", "c", "f"} {
		f.config("gold-"+name, 5, only(name)).node(name, true)
	}
	c := apimeta.FindStatusCondition(f.status().Conditions, v1alpha1.ConditionAccepted)
	if want := "In effect on 0 of 5 selected nodes; ProxyConfig gold-b, gold-c, gold-d, gold-e, gold-f has a higher priority or is older"; c.Message != want {
		t.Errorf("got %q", c.Message)
	}
}

// TestAgentsOfNoOtherCondition checks that only the time since when a node is ready counts.
func TestAgentsOfNoOtherCondition(t *testing.T) {
	f := newFixture(everywhere).node("a", true).set("a", 7, good).silent("a", time.Hour).readySince("a", 2*time.Hour).created("a", 3*time.Hour)
	n := f.in.nodes[0]
	n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeDiskPressure, LastTransitionTime: metav1.NewTime(now)})
	if got := dueSince(n, f.in.sets["a"], f.in.renewed["a"]); !got.Equal(now.Add(-time.Hour)) {
		t.Errorf("due since %v before now", now.Sub(got))
	}
}
