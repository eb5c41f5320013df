// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package podstatus computes the status that a kubelet reports for a Pod.
package podstatus

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Container is what is known of one container.
type Container struct {
	Spec *corev1.Container
	// Init marks an init container, restartable or not.
	Init bool
	// ID is the container's identity; empty before the first start.
	ID string
	// State and Last are the present state and how the one before it ended.
	State, Last corev1.ContainerState
	Restarts    int32
	// Ready is the verdict of the readiness probe, Started of the startup probe.
	Ready, Started bool
}

// Sidecar reports whether c is an init container that stays running.
func (c *Container) Sidecar() bool {
	return c.Init && c.Spec.RestartPolicy != nil && *c.Spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// succeeded reports whether an init container lets the next ones start.
func (c *Container) succeeded() bool {
	if c.Sidecar() {
		return c.Started
	}
	return c.State.Terminated != nil && c.State.Terminated.ExitCode == 0
}

// Facts are the inputs of the status besides the Pod itself.
type Facts struct {
	PodIPs, HostIPs []string
	StartTime       time.Time
	// Networked means that the Pod's network is set up.
	Networked bool
	// Ended means that no process of the Pod runs or will run any more.
	Ended      bool
	Containers []Container
}

// Compute returns the Pod's status, starting from the one it has.
func Compute(pod *corev1.Pod, facts Facts, now time.Time) corev1.PodStatus {
	status := *pod.Status.DeepCopy()
	status.ObservedGeneration = pod.Generation
	start := metav1.NewTime(facts.StartTime)
	status.StartTime = &start
	status.HostIP, status.HostIPs = "", nil
	for _, ip := range facts.HostIPs {
		status.HostIPs = append(status.HostIPs, corev1.HostIP{IP: ip})
	}
	status.PodIP, status.PodIPs = "", nil
	for _, ip := range facts.PodIPs {
		status.PodIPs = append(status.PodIPs, corev1.PodIP{IP: ip})
	}
	if len(facts.HostIPs) > 0 {
		status.HostIP = facts.HostIPs[0]
	}
	if len(facts.PodIPs) > 0 {
		status.PodIP = facts.PodIPs[0]
	}
	status.InitContainerStatuses, status.ContainerStatuses = nil, nil
	for i := range facts.Containers {
		c := &facts.Containers[i]
		if c.Init {
			status.InitContainerStatuses = append(status.InitContainerStatuses, containerStatus(c))
		} else {
			status.ContainerStatuses = append(status.ContainerStatuses, containerStatus(c))
		}
	}
	status.Phase = phase(pod, facts)
	setConditions(pod, &status, facts, metav1.NewTime(now))
	return status
}

func containerStatus(c *Container) corev1.ContainerStatus {
	started := c.Started && c.State.Running != nil
	ready := c.Ready && c.State.Running != nil
	if c.Init && !c.Sidecar() {
		ready = c.succeeded()
	}
	status := corev1.ContainerStatus{
		Name: c.Spec.Name, Image: c.Spec.Image, State: c.State, LastTerminationState: c.Last,
		Ready: ready, Started: &started, RestartCount: c.Restarts, ContainerID: c.ID,
	}
	if c.ID != "" {
		// There is no image with a digest; the name identifies the program.
		status.ImageID = "lab://" + c.Spec.Image
	}
	return status
}

func phase(pod *corev1.Pod, facts Facts) corev1.PodPhase {
	if done := pod.Status.Phase; done == corev1.PodSucceeded || done == corev1.PodFailed {
		return done
	}
	var running, waiting, failed, succeeded int
	for i := range facts.Containers {
		c := &facts.Containers[i]
		switch {
		case c.Init && c.succeeded(), c.Sidecar() && facts.Ended:
		case c.Init && !facts.Ended && (c.State.Terminated == nil || pod.Spec.RestartPolicy != corev1.RestartPolicyNever):
			return corev1.PodPending
		case c.Init:
			return corev1.PodFailed
		case c.State.Running != nil, c.Last.Terminated != nil && c.State.Waiting != nil:
			running++
		case c.State.Terminated == nil:
			waiting++
		case c.State.Terminated.ExitCode == 0:
			succeeded++
		default:
			failed++
		}
	}
	switch {
	case facts.Ended && failed+waiting+running > 0:
		return corev1.PodFailed
	case facts.Ended:
		return corev1.PodSucceeded
	case waiting > 0:
		return corev1.PodPending
	case running > 0, pod.Spec.RestartPolicy == corev1.RestartPolicyAlways:
		return corev1.PodRunning
	case failed == 0:
		return corev1.PodSucceeded
	case pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
		return corev1.PodFailed
	}
	return corev1.PodRunning
}

func setConditions(pod *corev1.Pod, status *corev1.PodStatus, facts Facts, now metav1.Time) {
	set := func(kind corev1.PodConditionType, blocked, message string) {
		condition := corev1.PodCondition{
			Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now, ObservedGeneration: pod.Generation,
		}
		if blocked != "" {
			condition.Status, condition.Reason, condition.Message = corev1.ConditionFalse, blocked, message
		}
		setCondition(status, condition)
	}
	network := ""
	if !facts.Networked {
		network = "PodSandboxNotReady"
	}
	set(corev1.PodReadyToStartContainers, network, "")
	var incomplete, unready []string
	for i := range facts.Containers {
		c := &facts.Containers[i]
		if c.Init && !c.succeeded() {
			incomplete = append(incomplete, c.Spec.Name)
		}
		if (!c.Init || c.Sidecar()) && (!c.Ready || c.State.Running == nil) {
			unready = append(unready, c.Spec.Name)
		}
	}
	blocked, message := blame("ContainersNotInitialized", "containers with incomplete status", incomplete)
	set(corev1.PodInitialized, blocked, message)
	blocked, message = blame("ContainersNotReady", "containers with unready status", unready)
	switch status.Phase {
	case corev1.PodSucceeded:
		blocked, message = "PodCompleted", ""
	case corev1.PodFailed:
		blocked, message = "PodFailed", ""
	}
	set(corev1.ContainersReady, blocked, message)
	if blocked == "" {
		var closed []string
		for _, gate := range pod.Spec.ReadinessGates {
			if !isTrue(status, gate.ConditionType) {
				closed = append(closed, string(gate.ConditionType))
			}
		}
		blocked, message = blame("ReadinessGatesNotReady", "conditions that are not true", closed)
	}
	set(corev1.PodReady, blocked, message)
}

func blame(reason, text string, names []string) (string, string) {
	if len(names) == 0 {
		return "", ""
	}
	return reason, fmt.Sprintf("%s: [%s]", text, strings.Join(names, " "))
}

// setCondition keeps the time of the last transition when there is none.
func setCondition(status *corev1.PodStatus, condition corev1.PodCondition) {
	for i := range status.Conditions {
		old := &status.Conditions[i]
		if old.Type != condition.Type {
			continue
		}
		if old.Status == condition.Status {
			condition.LastTransitionTime = old.LastTransitionTime
		}
		condition.LastProbeTime = old.LastProbeTime
		*old = condition
		return
	}
	status.Conditions = append(status.Conditions, condition)
}

func isTrue(status *corev1.PodStatus, kind corev1.PodConditionType) bool {
	for _, condition := range status.Conditions {
		if condition.Type == kind {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
