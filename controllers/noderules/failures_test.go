// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package noderules

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/internal/apitest"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// nodeWorld is a Reconciler of the node with an API in memory, each call of which may fail.
type nodeWorld struct {
	*Reconciler
	api    client.WithWatch
	clock  *clocktesting.FakePassiveClock
	events *events.FakeRecorder
	fail   func(n int) error // of the n-th call; nil: none fails
	calls  int
}

func newNodeWorld(t *testing.T, objs ...client.Object) *nodeWorld {
	t.Helper()
	w := &nodeWorld{api: apiWith(t, objs...), clock: clocktesting.NewFakePassiveClock(time.Unix(1_700_000_000, 0)), events: events.NewFakeRecorder(10)}
	next := func() error {
		w.calls++
		if w.fail == nil {
			return nil
		}
		return w.fail(w.calls - 1)
	}
	c := interceptor.NewClient(w.api, apitest.Failing(next))
	w.Reconciler = &Reconciler{Client: c, Live: c, Recorder: w.events, Clock: w.clock, Patience: time.Minute}
	return w
}

func (w *nodeWorld) reconcile(t *testing.T) (ctrl.Result, error) {
	t.Helper()
	return w.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Name: "node"}})
}

// set returns the NodeRuleSet in the API; nil: there is none.
func (w *nodeWorld) set(t *testing.T) *v1alpha1.NodeRuleSet {
	t.Helper()
	set := &v1alpha1.NodeRuleSet{}
	err := w.api.Get(t.Context(), client.ObjectKey{Name: "node"}, set)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	set.ResourceVersion, set.ManagedFields = "", nil
	return set
}

func cleansUp(s *v1alpha1.NodeRuleSet) { s.Spec.DeletionPolicy = v1alpha1.DeletionCleanup }

// TestEachCallFails has one call after the other fail: that is returned, nothing changes, and the next try
// does all of it.
func TestEachCallFails(t *testing.T) {
	for name, objs := range map[string][]client.Object{
		"a new node":                   {node("1"), config()},
		"no longer selected":           {node("1"), ruleSet(node("1"))},
		"no longer selected, clean up": {node("1"), ruleSet(node("1"), cleansUp)},
		"gone":                         {config(), ruleSet(node("1"))},
	} {
		t.Run(name, func(t *testing.T) {
			right := newNodeWorld(t, objs...)
			wanted, err := right.reconcile(t)
			if err != nil {
				t.Fatal(err)
			}
			want := right.set(t)
			for k := range right.calls {
				w, refused := newNodeWorld(t, objs...), errors.New("refused")
				w.fail = func(n int) error {
					if n == k {
						return refused
					}
					return nil
				}
				before := w.set(t)
				if _, err := w.reconcile(t); !errors.Is(err, refused) || err.Error() == refused.Error() {
					t.Errorf("call %d: %v", k, err)
				}
				if diff := cmp.Diff(before, w.set(t)); diff != "" {
					t.Errorf("call %d changes:\n%s", k, diff)
				}
				if result, err := w.reconcile(t); err != nil || result != wanted {
					t.Errorf("call %d, again: %v, %v; want %v", k, result, err, wanted)
				}
				if diff := cmp.Diff(want, w.set(t)); diff != "" {
					t.Errorf("call %d, again (-want +got):\n%s", k, diff)
				}
			}
		})
	}
}

// TestWritten checks all of a NodeRuleSet, and when it is looked at again.
func TestWritten(t *testing.T) {
	n := node("1")
	n.Spec.PodCIDR = "bad"
	w := newNodeWorld(t, n, config(), &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/16"}}})
	if result, err := w.reconcile(t); err != nil || result.RequeueAfter != ssa.LookAgain {
		t.Errorf("%+v, %v", result, err)
	}
	set := w.set(t)
	if !ssa.IsOurs(set, n) || set.OwnerReferences[0].Kind != "Node" || set.OwnerReferences[0].APIVersion != "v1" {
		t.Errorf("of another: %+v", set.ObjectMeta)
	}
	if set.Spec.Policy.Name != "config" || set.Spec.Revision != rollout.RevisionOf(config()).Name || !cmp.Equal(set.Spec.ServiceCIDRs, []string{"10.96.0.0/16"}) {
		t.Errorf("got %+v", set.Spec)
	}
	if len(w.events.Events) != 1 {
		t.Fatalf("%d events", len(w.events.Events))
	}
	if e := <-w.events.Events; !strings.Contains(e, "Warning NodeFactSkipped") || !strings.Contains(e, `"bad" is not a CIDR`) {
		t.Error(e)
	}
	if result, err := w.reconcile(t); err != nil || result != (ctrl.Result{}) || len(w.events.Events) > 0 {
		t.Errorf("up to date: %+v, %v, %d events", result, err, len(w.events.Events))
	}
}

// TestDeparts follows a node that is selected no more until its NodeRuleSet is gone.
func TestDeparts(t *testing.T) {
	for name, tc := range map[string]struct {
		cleaned func(*v1alpha1.NodeRuleSet) // what the agent reports; nil: nothing
		event   bool
	}{
		"the agent cleans up": {func(s *v1alpha1.NodeRuleSet) {
			s.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonCleanedUp, ObservedGeneration: s.Generation}}
		}, false},
		"the agent is silent": {nil, true},
		"an older report": {func(s *v1alpha1.NodeRuleSet) {
			s.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonCleanedUp, ObservedGeneration: s.Generation - 1}}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newNodeWorld(t, node("1"), ruleSet(node("1"), cleansUp, func(s *v1alpha1.NodeRuleSet) { s.Generation = 7 }))
			step := func(what string, after time.Duration, gone bool) {
				t.Helper()
				result, err := w.reconcile(t)
				if err != nil || result.RequeueAfter != after || (w.set(t) == nil) != gone {
					t.Fatalf("%s: again after %s, %v, gone %v; want %s and %v", what, result.RequeueAfter, err, w.set(t) == nil, after, gone)
				}
			}
			step("asked", time.Minute, false)
			if set := w.set(t); !set.Spec.CleanUpSince.Time.Equal(w.clock.Now()) || set.Spec.Mode != ruleSet(node("1")).Spec.Mode || !ssa.IsOurs(set, node("1")) {
				t.Errorf("asked: %+v", set)
			}
			w.clock.SetTime(w.clock.Now().Add(59 * time.Second))
			step("waits", time.Second, false)
			if tc.cleaned != nil {
				set := &v1alpha1.NodeRuleSet{}
				if err := w.api.Get(t.Context(), client.ObjectKey{Name: "node"}, set); err != nil {
					t.Fatal(err)
				}
				tc.cleaned(set)
				if err := w.api.Update(t.Context(), set); err != nil {
					t.Fatal(err)
				}
			}
			if tc.event {
				step("waits still", time.Second, false)
				w.clock.SetTime(w.clock.Now().Add(time.Second))
			}
			step("the end", 0, true)
			if event := len(w.events.Events) == 1; event != tc.event {
				t.Fatalf("%d events", len(w.events.Events))
			} else if event {
				if e := <-w.events.Events; !strings.Contains(e, "NotCleanedUp") || !strings.Contains(e, "within 1m0s") {
					t.Error(e)
				}
			}
		})
	}
}

// TestDepartingGivesBack checks what a node that is cleaned up does about kube-proxy: without it, it
// would have no proxy at all.
func TestDepartingGivesBack(t *testing.T) {
	for name, tc := range map[string]struct{ action, want v1alpha1.KubeProxyAction }{
		"it has taken over": {v1alpha1.KubeProxyTakeOver, v1alpha1.KubeProxyGiveBack},
		"it gives back":     {v1alpha1.KubeProxyGiveBack, v1alpha1.KubeProxyGiveBack},
		"it never did":      {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newNodeWorld(t, node("1"), ruleSet(node("1"), cleansUp, func(s *v1alpha1.NodeRuleSet) { s.Spec.KubeProxy = tc.action }))
			if _, err := w.reconcile(t); err != nil {
				t.Fatal(err)
			}
			if set := w.set(t); set.Spec.CleanUpSince == nil || set.Spec.KubeProxy != tc.want {
				t.Errorf("spec %+v, want kubeProxy %q", set.Spec, tc.want)
			}
		})
	}
}

// TestGoneMeanwhile checks which failed deletions are none.
func TestGoneMeanwhile(t *testing.T) {
	resource := schema.GroupResource{Resource: "noderulesets"}
	for name, tc := range map[string]struct {
		err   error
		fails bool
	}{
		"it is gone":  {apierrors.NewNotFound(resource, "node"), false},
		"another one": {apierrors.NewConflict(resource, "node", errors.New("uid")), true},
	} {
		t.Run(name, func(t *testing.T) {
			right := newNodeWorld(t, node("1"), ruleSet(node("1")))
			if _, err := right.reconcile(t); err != nil {
				t.Fatal(err)
			}
			w := newNodeWorld(t, node("1"), ruleSet(node("1")))
			w.fail = func(n int) error {
				if n == right.calls-1 {
					return tc.err
				}
				return nil
			}
			if _, err := w.reconcile(t); (err != nil) != tc.fails {
				t.Errorf("got %v", err)
			}
		})
	}
}
