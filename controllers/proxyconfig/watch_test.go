// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

// TestNodeChanged checks which changes of a Node reconcile the ProxyConfigs.
func TestNodeChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*corev1.Node)
		want   bool
	}{
		"nothing":             {func(*corev1.Node) {}, false},
		"a label":             {func(n *corev1.Node) { n.Labels = map[string]string{"pool": "a"} }, true},
		"it is ready":         {func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionTrue }, true},
		"the kubelet is dead": {func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }, false},
		"the kubelet's heartbeat": {func(n *corev1.Node) {
			n.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(time.Unix(1000, 0))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			before := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse}}}}
			after := before.DeepCopy()
			c.change(after)
			for _, e := range []event.UpdateEvent{{ObjectOld: before, ObjectNew: after}, {ObjectOld: after, ObjectNew: before}} {
				if got := nodeChanged().Update(e); got != c.want {
					t.Errorf("got %v", got)
				}
			}
		})
	}
}
