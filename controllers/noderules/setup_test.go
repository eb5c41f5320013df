// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package noderules

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

// TestFactsChanged checks which changes of a Node trigger a reconcile.
func TestFactsChanged(t *testing.T) {
	cases := map[string]struct {
		change func(*corev1.Node)
		want   bool
	}{
		"heartbeat": {func(n *corev1.Node) {
			n.ResourceVersion = "2"
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, LastHeartbeatTime: metav1.Now()}}
		}, false},
		"taint":     {func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "k"}} }, false},
		"label":     {func(n *corev1.Node) { n.Labels = map[string]string{"a": "b"} }, true},
		"Pod range": {func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"10.0.0.0/24"} }, true},
		"address":   {func(n *corev1.Node) { n.Status.Addresses = []corev1.NodeAddress{{Address: "192.0.2.1"}} }, true},
		"new Node":  {func(n *corev1.Node) { n.UID = "other" }, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "one", ResourceVersion: "1"}}
			after := before.DeepCopy()
			tc.change(after)
			if got := factsChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
