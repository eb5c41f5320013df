// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/tools/cache"
	crcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/install"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// The labels of objects that a service proxy ignores.
const (
	labelServiceProxyName = "service.kubernetes.io/service-proxy-name"
	labelHeadless         = corev1.IsHeadlessService
)

// CacheOptions restrict the cache to what the reconcilers read: a cluster has many
// Services, endpoints and nodes, and most fields of the objects are not used here.
func CacheOptions(namespace string) crcache.Options {
	return crcache.Options{
		ReaderFailOnMissingInformer: true,
		DefaultTransform:            crcache.TransformStripManagedFields(),
		ByObject: map[client.Object]crcache.ByObject{
			&corev1.Service{}:            {Label: without(labelServiceProxyName), Transform: transform(trimService)},
			&discoveryv1.EndpointSlice{}: {Label: without(labelHeadless), Transform: transform(trimEndpointSlice)},
			&corev1.Node{}:               {Transform: transform(trimNode)},
			&v1alpha1.ServiceRuleSlice{}: {Transform: trimSlice},
			// The controller may read no other.
			&appsv1.DaemonSet{}: {
				Namespaces: map[string]crcache.Config{namespace: {}},
				Field:      fields.OneTermEqualSelector(metav1.ObjectNameField, install.Name),
			},
			// The agents' DaemonSet has some, too.
			&appsv1.ControllerRevision{}: {
				Namespaces: map[string]crcache.Config{namespace: {}},
				Label:      labels.SelectorFromSet(labels.Set{v1alpha1.LabelManagedBy: v1alpha1.ControllerName}),
			},
		},
	}
}

func without(label string) labels.Selector {
	r, err := labels.NewRequirement(label, selection.DoesNotExist, nil)
	if err != nil {
		panic(err) // a constant is not a valid label
	}
	return labels.NewSelector().Add(*r)
}

// transform converts a function for one type to a cache transform. Other objects
// (the tombstone of a deleted object) are not changed.
func transform[T metav1.Object](trim func(T)) cache.TransformFunc {
	return func(obj any) (any, error) {
		if o, ok := obj.(T); ok {
			trim(o)
			o.SetManagedFields(nil)
		}
		return obj, nil
	}
}

// trimSlice keeps of the managedFields what shows who has written the spec.
func trimSlice(obj any) (any, error) {
	if slice, ok := obj.(*v1alpha1.ServiceRuleSlice); ok {
		model.DropManagedFields(slice)
	}
	return obj, nil
}

// trimService keeps when the Service was changed, as the annotation of an EndpointSlice. A new Service
// shows nothing: its creation is in its EndpointSlices.
func trimService(svc *corev1.Service) {
	svc.Annotations = nil
	if changed := model.Changed(svc); changed.After(svc.CreationTimestamp.Time) {
		svc.Annotations = model.TriggerAnnotation(changed)
	}
}

func trimEndpointSlice(slice *discoveryv1.EndpointSlice) {
	// The time of the change is the start of the programming latency.
	slice.Annotations = model.TriggerAnnotation(model.Changed(slice))
	for i := range slice.Endpoints {
		e := &slice.Endpoints[i]
		e.TargetRef, e.Hostname, e.DeprecatedTopology, e.Zone = nil, nil, nil, nil
	}
}

func trimNode(node *corev1.Node) {
	node.Annotations = nil
	taints := slices.DeleteFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key != compile.TaintToBeDeleted })
	node.Spec = corev1.NodeSpec{PodCIDR: node.Spec.PodCIDR, PodCIDRs: node.Spec.PodCIDRs, Taints: taints}
	status := corev1.NodeStatus{Addresses: node.Status.Addresses}
	status.NodeInfo.KernelVersion = node.Status.NodeInfo.KernelVersion
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			// Without the heartbeat, which changes all the time.
			status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status, LastTransitionTime: c.LastTransitionTime}}
		}
	}
	node.Status = status
}
