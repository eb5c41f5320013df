// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// clean returns what the archive has of an object. Of Fairlead's own kinds that is all but foreign
// annotations. Of other kinds it is only what is named here: annotations may have a whole object of
// before, and a container anything in its environment or arguments.
func clean(object client.Object) client.Object {
	m := meta(object)
	switch o := object.(type) {
	case *corev1.Node:
		return &corev1.Node{ObjectMeta: m,
			Spec: corev1.NodeSpec{PodCIDR: o.Spec.PodCIDR, PodCIDRs: o.Spec.PodCIDRs, Unschedulable: o.Spec.Unschedulable, Taints: o.Spec.Taints},
			Status: corev1.NodeStatus{Conditions: o.Status.Conditions, Addresses: o.Status.Addresses,
				NodeInfo: corev1.NodeSystemInfo{KernelVersion: o.Status.NodeInfo.KernelVersion, OSImage: o.Status.NodeInfo.OSImage,
					ContainerRuntimeVersion: o.Status.NodeInfo.ContainerRuntimeVersion, KubeletVersion: o.Status.NodeInfo.KubeletVersion,
					OperatingSystem: o.Status.NodeInfo.OperatingSystem, Architecture: o.Status.NodeInfo.Architecture}}}
	case *corev1.Service:
		m.Labels = only(m.Labels, "service.kubernetes.io/")
		return &corev1.Service{ObjectMeta: m, Spec: o.Spec, Status: o.Status}
	case *discoveryv1.EndpointSlice:
		m.Labels = only(m.Labels, "kubernetes.io/", "endpointslice.kubernetes.io/", "service.kubernetes.io/")
		return &discoveryv1.EndpointSlice{ObjectMeta: m, AddressType: o.AddressType, Endpoints: o.Endpoints, Ports: o.Ports}
	case *corev1.Pod:
		return &corev1.Pod{ObjectMeta: m, Spec: podSpec(&o.Spec), Status: o.Status}
	case *appsv1.DaemonSet:
		return &appsv1.DaemonSet{ObjectMeta: m, Spec: appsv1.DaemonSetSpec{Selector: o.Spec.Selector, Template: template(&o.Spec.Template),
			UpdateStrategy: o.Spec.UpdateStrategy, MinReadySeconds: o.Spec.MinReadySeconds}, Status: o.Status}
	case *appsv1.Deployment:
		return &appsv1.Deployment{ObjectMeta: m, Spec: appsv1.DeploymentSpec{Replicas: o.Spec.Replicas, Selector: o.Spec.Selector, Template: template(&o.Spec.Template),
			Strategy: o.Spec.Strategy, MinReadySeconds: o.Spec.MinReadySeconds, Paused: o.Spec.Paused}, Status: o.Status}
	case *corev1.Event:
		m.Labels = nil
		return &corev1.Event{ObjectMeta: m, InvolvedObject: o.InvolvedObject, Reason: o.Reason, Message: o.Message, Source: o.Source, Type: o.Type,
			FirstTimestamp: o.FirstTimestamp, LastTimestamp: o.LastTimestamp, Count: o.Count, EventTime: o.EventTime, Series: o.Series,
			ReportingController: o.ReportingController, ReportingInstance: o.ReportingInstance}
	case *appsv1.ControllerRevision:
		return &appsv1.ControllerRevision{ObjectMeta: m, Data: o.Data, Revision: o.Revision}
	}
	out := object.DeepCopyObject().(client.Object)
	out.SetAnnotations(m.Annotations)
	out.SetManagedFields(nil)
	return out
}

// meta leaves out who wrote the object, and all annotations but Fairlead's.
func meta(o client.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(), Generation: o.GetGeneration(),
		CreationTimestamp: o.GetCreationTimestamp(), DeletionTimestamp: o.GetDeletionTimestamp(), OwnerReferences: o.GetOwnerReferences(),
		Finalizers: o.GetFinalizers(), Labels: o.GetLabels(), Annotations: only(o.GetAnnotations(), v1alpha1.GroupVersion.Group+"/"),
	}
}

// only returns what has one of the prefixes.
func only(all map[string]string, prefixes ...string) map[string]string {
	out := map[string]string{}
	for name, value := range all {
		for _, prefix := range prefixes {
			if strings.HasPrefix(name, prefix) {
				out[name] = value
			}
		}
	}
	return out
}

func template(t *corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: t.Labels}, Spec: podSpec(&t.Spec)}
}

func podSpec(s *corev1.PodSpec) corev1.PodSpec {
	out := corev1.PodSpec{
		NodeName: s.NodeName, NodeSelector: s.NodeSelector, Affinity: s.Affinity, Tolerations: s.Tolerations, PriorityClassName: s.PriorityClassName,
		HostNetwork: s.HostNetwork, DNSPolicy: s.DNSPolicy, ServiceAccountName: s.ServiceAccountName, SecurityContext: s.SecurityContext,
		TerminationGracePeriodSeconds: s.TerminationGracePeriodSeconds,
	}
	for _, v := range s.Volumes {
		out.Volumes = append(out.Volumes, corev1.Volume{Name: v.Name, VolumeSource: corev1.VolumeSource{HostPath: v.HostPath}})
	}
	for i := range s.InitContainers {
		out.InitContainers = append(out.InitContainers, container(&s.InitContainers[i]))
	}
	for i := range s.Containers {
		out.Containers = append(out.Containers, container(&s.Containers[i]))
	}
	return out
}

// container has the arguments of Fairlead's own containers, and no values of the environment.
func container(c *corev1.Container) corev1.Container {
	out := corev1.Container{Name: c.Name, Image: c.Image, ImagePullPolicy: c.ImagePullPolicy, Ports: c.Ports, Resources: c.Resources,
		VolumeMounts: c.VolumeMounts, SecurityContext: c.SecurityContext}
	if c.Name == "agent" || c.Name == "manager" {
		out.Args = c.Args
	}
	for _, e := range c.Env {
		out.Env = append(out.Env, corev1.EnvVar{Name: e.Name})
	}
	return out
}
