// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/takeover"
)

// kubeProxyIs has an agent report how far its node is with kube-proxy.
func (s *staging) kubeProxyIs(name string, status metav1.ConditionStatus, reason, message string) {
	s.t.Helper()
	set := s.sets()[name]
	apimeta.SetStatusCondition(&set.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionKubeProxyReplaced, Status: status, Reason: reason,
		Message: message, ObservedGeneration: set.Generation, LastTransitionTime: metav1.Time{Time: s.clock.Now()}})
	s.writeStatus(set)
}

// TestRolloutGivesBack has nodes give back to kube-proxy, one after the other: none before kube-proxy serves the one
// before it.
func TestRolloutGivesBack(t *testing.T) {
	s := newStaging(t, oneByOne(), "a", "b", "c")
	s.change("2", func(spec *v1alpha1.ProxyConfigSpec) {
		spec.KubeProxy = &v1alpha1.KubeProxyOptions{TakeOver: ptr.To(false)}
	})
	s.passes(3)
	s.kubeProxyIs("a", metav1.ConditionUnknown, v1alpha1.ReasonGivingBack, "kube-proxy does not run.")
	s.pass(50 * time.Second)
	s.wants("Verifying canary", "a=2+ b=1+ c=1+")
	s.kubeProxyIs("a", metav1.ConditionFalse, v1alpha1.ReasonGivenBack, "")
	s.pass(29 * time.Second)
	s.wants("Soaking canary", "a=2+ b=1+ c=1+")
	s.pass(time.Second)
	s.wants("Updating rest", "a=2+ b=2+ c=1+")
	s.pass(time.Second)
	s.wants("Updating rest", "a=2+ b=2+ c=1+")
	s.kubeProxyIs("b", metav1.ConditionFalse, v1alpha1.ReasonGivenBack, "")
	s.pass(time.Second)
	s.wants("Updating rest", "a=2+ b=2+ c=2+")

	// kube-proxy has a minute, and then the deadline of the node and the grace.
	s.kubeProxyIs("c", metav1.ConditionUnknown, v1alpha1.ReasonGivingBack, "kube-proxy does not run.")
	s.pass(118 * time.Second)
	s.wants("Verifying rest", "a=2+ b=2+ c=2+")
	s.passes(2)
	s.wants("RollingBack", "a=2+ b=2+ c=1+")
	want := []v1alpha1.FailingNode{{Name: "c", Reason: v1alpha1.ReasonGivingBack, Message: "kube-proxy does not run."}}
	if diff := cmp.Diff(want, s.current().Status.FailedNodes); diff != "" {
		t.Errorf("failed nodes (-want +got):\n%s", diff)
	}
	s.passes(3)
	s.wants("RolledBack", "a=1+ b=1+ c=1+")
}

// TestRolloutGivesBackToNothing checks that no node gives back, or is failed for it, while there is no DaemonSet that
// starts kube-proxy.
func TestRolloutGivesBackToNothing(t *testing.T) {
	s := newStaging(t, oneByOne(), "a", "b")
	s.change("2", func(spec *v1alpha1.ProxyConfigSpec) {
		spec.KubeProxy = &v1alpha1.KubeProxyOptions{TakeOver: ptr.To(true)}
		spec.Rollout = v1alpha1.RolloutOptions{Strategy: v1alpha1.AllAtOnce}
	})
	s.passes(3)
	for _, set := range s.sets() {
		set.Status.KubeProxy = &v1alpha1.KubeProxyStatus{}
		s.writeStatus(set)
	}
	s.change("3", func(spec *v1alpha1.ProxyConfigSpec) {
		spec.KubeProxy.TakeOver, spec.Rollout = ptr.To(false), oneByOne()
		spec.Rollout.Strategy = v1alpha1.Staged
	})
	recorder := events.NewFakeRecorder(100)
	look := func() {
		t.Helper()
		r := &takeover.Reconciler{Client: s.view, Live: api, Recorder: recorder}
		if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: objectKey(s.config.Name)}); err != nil {
			t.Fatal(err)
		}
	}
	s.passes(3)
	s.wants("Pending", "a=2+ b=2+") // the controller has not looked at the DaemonSet
	look()
	s.pass(time.Second)
	s.wants("Blocked", "a=2+ b=2+")
	c := apimeta.FindStatusCondition(s.current().Status.Conditions, v1alpha1.ConditionPrechecked)
	want := "There is no DaemonSet kube-system/kube-proxy, so kube-proxy does not come back: " +
		"create it, set spec.kubeProxy.daemonSet, or start kube-proxy on the nodes"
	if c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonDaemonSetNotFound || c.Message != want {
		t.Errorf("condition %+v", c)
	}
	s.pass(5 * time.Minute)
	s.wants("Blocked", "a=2+ b=2+")

	kubeProxy(t)
	look()
	s.pass(time.Second)
	s.wants("Updating canary", "a=3+ b=2+")
}
