// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
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
