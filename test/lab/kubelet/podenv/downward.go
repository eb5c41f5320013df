// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package podenv

import (
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Downward answers the questions of the downward API about one Pod.
type Downward struct {
	Pod *corev1.Pod
	// PodIPs and HostIPs are the addresses, IPv4 first.
	PodIPs, HostIPs []string
}

// Field returns the value of a fieldRef's path.
func (d Downward) Field(path string) (string, error) {
	pod := d.Pod
	if name, key, ok := subscript(path); ok {
		switch name {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return quoted(pod.Labels), nil
	case "metadata.annotations":
		return quoted(pod.Annotations), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP":
		return first(d.PodIPs), nil
	case "status.podIPs":
		return strings.Join(d.PodIPs, ","), nil
	case "status.hostIP":
		return first(d.HostIPs), nil
	case "status.hostIPs":
		return strings.Join(d.HostIPs, ","), nil
	}
	return "", fmt.Errorf("unknown field %q", path)
}

// Resource returns the value of a resourceFieldRef. A limit that is not set is
// what the machine has, as the API promises.
func (d Downward) Resource(ref *corev1.ResourceFieldSelector, container *corev1.Container) (string, error) {
	if ref.ContainerName != "" {
		for i := range d.Pod.Spec.Containers {
			if d.Pod.Spec.Containers[i].Name == ref.ContainerName {
				container = &d.Pod.Spec.Containers[i]
			}
		}
	}
	if container == nil {
		return "", fmt.Errorf("resource %q: no container %q", ref.Resource, ref.ContainerName)
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	list, fallback := container.Resources.Limits, machine
	if kind == "requests" {
		list, fallback = container.Resources.Requests, nil
	}
	quantity, ok := list[corev1.ResourceName(name)]
	if !ok {
		quantity = fallback[corev1.ResourceName(name)]
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == "cpu" {
		return roundedUp(float64(quantity.MilliValue()) / float64(divisor.MilliValue())), nil
	}
	return roundedUp(float64(quantity.Value()) / float64(divisor.Value())), nil
}

var machine = corev1.ResourceList{
	corev1.ResourceCPU:    *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
	corev1.ResourceMemory: resource.MustParse("4Gi"),
}

func roundedUp(value float64) string { return strconv.FormatInt(int64(math.Ceil(value)), 10) }

// subscript splits metadata.labels['key'].
func subscript(path string) (name, key string, ok bool) {
	name, rest, ok := strings.Cut(path, "['")
	if !ok {
		return "", "", false
	}
	key, ok = strings.CutSuffix(rest, "']")
	return name, key, ok
}

// quoted prints a map as the downward API's files have it.
func quoted(values map[string]string) string {
	lines := make([]string, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		lines = append(lines, fmt.Sprintf("%s=%q", key, values[key]))
	}
	return strings.Join(lines, "\n")
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
