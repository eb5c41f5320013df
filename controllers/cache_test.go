// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestTransforms(t *testing.T) {
	at := metav1.Unix(1000, 0)
	changed := []metav1.ManagedFieldsEntry{{Manager: "kubectl", Time: &at}}
	managed := []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}
	zone, name, yes := "a", "h", true
	cases := map[string]struct {
		trim     cache.TransformFunc
		in, want any
	}{
		"Service": {
			transform(trimService),
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"a": "b"}, ManagedFields: managed, Annotations: map[string]string{"x": "y"}},
				Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1"}},
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"a": "b"}},
				Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1"}},
		},
		"Service that has changed": {
			transform(trimService),
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", CreationTimestamp: metav1.Unix(900, 0), ManagedFields: changed}},
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", CreationTimestamp: metav1.Unix(900, 0), Annotations: model.TriggerAnnotation(time.Unix(1000, 0))}},
		},
		"new Service": {
			transform(trimService),
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", CreationTimestamp: metav1.Unix(1000, 0), ManagedFields: changed}},
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", CreationTimestamp: metav1.Unix(1000, 0)}},
		},
		"EndpointSlice without a trigger": {
			transform(trimEndpointSlice),
			&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "web-1", ManagedFields: changed}},
			&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Annotations: model.TriggerAnnotation(time.Unix(1000, 0))}},
		},
		"EndpointSlice": {
			transform(trimEndpointSlice),
			&discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{Name: "web-1", ManagedFields: managed,
					Annotations: map[string]string{"x": "y", corev1.EndpointsLastChangeTriggerTime: "2026-01-02T03:04:05.5Z"}},
				Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, Zone: &zone, Hostname: &name, NodeName: &name,
					Conditions: discoveryv1.EndpointConditions{Ready: &yes}, TargetRef: &corev1.ObjectReference{Name: "pod"},
					Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}}}}},
			},
			&discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{Name: "web-1", Annotations: map[string]string{corev1.EndpointsLastChangeTriggerTime: "2026-01-02T03:04:05.5Z"}},
				Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, NodeName: &name,
					Conditions: discoveryv1.EndpointConditions{Ready: &yes},
					Hints:      &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}}}}},
			},
		},
		"Node": {
			transform(trimNode),
			&corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"a": "b"}, ManagedFields: managed, Annotations: map[string]string{"x": "y"}},
				Spec:       corev1.NodeSpec{PodCIDR: "10.0.0.0/24", PodCIDRs: []string{"10.0.0.0/24"}, ProviderID: "p", Taints: []corev1.Taint{{Key: "k"}, {Key: compile.TaintToBeDeleted}}},
				Status: corev1.NodeStatus{
					Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
					Images:     []corev1.ContainerImage{{SizeBytes: 1}},
					Conditions: []corev1.NodeCondition{{Type: corev1.NodeDiskPressure}, {Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Unix(1000, 0)}},
				},
			},
			&corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"a": "b"}},
				Spec:       corev1.NodeSpec{PodCIDR: "10.0.0.0/24", PodCIDRs: []string{"10.0.0.0/24"}, Taints: []corev1.Taint{{Key: compile.TaintToBeDeleted}}},
				Status: corev1.NodeStatus{
					Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
					Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(1000, 0)}},
				},
			},
		},
		"ServiceRuleSlice": {
			trimSlice,
			&v1alpha1.ServiceRuleSlice{ObjectMeta: metav1.ObjectMeta{Name: "default.web-v4-0", ManagedFields: append(managed, metav1.ManagedFieldsEntry{
				Manager: "fairlead-controller", Operation: "Apply", APIVersion: "proxy.fairlead.dev/v1alpha1", Time: &metav1.Time{}, FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{},"f:spec":{}}`)})}},
			&v1alpha1.ServiceRuleSlice{ObjectMeta: metav1.ObjectMeta{Name: "default.web-v4-0", ManagedFields: []metav1.ManagedFieldsEntry{{
				Manager: "fairlead-controller", Operation: "Apply", APIVersion: "proxy.fairlead.dev/v1alpha1", FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}}}},
		},
		"foreign ServiceRuleSlice": {
			trimSlice,
			&v1alpha1.ServiceRuleSlice{ObjectMeta: metav1.ObjectMeta{Name: "default.web-v4-0", ManagedFields: managed}},
			&v1alpha1.ServiceRuleSlice{ObjectMeta: metav1.ObjectMeta{Name: "default.web-v4-0", ManagedFields: managed}},
		},
		"tombstone": {transform(trimService), cache.DeletedFinalStateUnknown{Key: "x"}, cache.DeletedFinalStateUnknown{Key: "x"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := tc.trim(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestCacheSelects checks that the cache leaves out exactly the Services of other
// proxies and the EndpointSlices of headless Services.
func TestCacheSelects(t *testing.T) {
	for obj, by := range CacheOptions("ns").ByObject {
		headless := labels.Set{"service.kubernetes.io/headless": ""}
		other := labels.Set{"service.kubernetes.io/service-proxy-name": "cilium"}
		switch obj.(type) {
		case *corev1.Service:
			if by.Label.Matches(other) || !by.Label.Matches(labels.Set{}) || !by.Label.Matches(headless) {
				t.Errorf("Services: %v", by.Label)
			}
		case *discoveryv1.EndpointSlice:
			if by.Label.Matches(headless) || !by.Label.Matches(labels.Set{}) {
				t.Errorf("EndpointSlices: %v", by.Label)
			}
		case *appsv1.DaemonSet: // the controller may list no other
			_, ok := by.Namespaces["ns"]
			if len(by.Namespaces) != 1 || !ok || by.Field == nil || by.Field.String() != "metadata.name=fairlead-agent" {
				t.Errorf("DaemonSets: %v %v", by.Namespaces, by.Field)
			}
		}
	}
}
