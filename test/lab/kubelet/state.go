// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/container"
	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/podstatus"
)

const (
	firstBackoff = 500 * time.Millisecond
	// maxBackoff is 5 minutes in a real kubelet; a lab is interactive.
	maxBackoff = 4 * time.Second
	// calmTime is how long a container must have run to start anew with the
	// first back-off. A real kubelet wants ten minutes, and so much patience of
	// everyone who kills containers on purpose.
	calmTime = 10 * time.Second
)

// backoff is a growing pause between attempts.
type backoff struct {
	pause time.Duration
	until time.Time
}

func (b *backoff) grow(first time.Duration) {
	b.pause = min(max(2*b.pause, first), maxBackoff)
	b.until = time.Now().Add(b.pause)
}

// containerState is one container of a Pod. The worker changes it, and probes
// its verdicts; others read it under the worker's mutex.
type containerState struct {
	spec *corev1.Container
	init bool

	process *container.Process
	id      string
	logDone chan struct{} // closed when the attempt's log is complete
	log     string        // the log of the present or last attempt
	oldLog  string        // the log of the one before

	starts     int
	state      corev1.ContainerState
	last       corev1.ContainerState
	wait       backoff
	ready      bool
	started    bool
	stopProbes context.CancelFunc
	stopping   *stopping
	// unhealthy is why a probe condemned the container, and the time it gets.
	unhealthy      string
	unhealthyGrace time.Duration
}

func newContainerState(spec *corev1.Container, init bool) *containerState {
	c := &containerState{spec: spec, init: init}
	c.setWaiting("ContainerCreating", "")
	if init {
		c.setWaiting("PodInitializing", "")
	}
	return c
}

func (c *containerState) report() podstatus.Container {
	return podstatus.Container{
		Spec: c.spec, Init: c.init, ID: c.id, State: c.state, Last: c.last,
		Restarts: int32(max(c.starts-1, 0)), Ready: c.ready, Started: c.started,
	}
}

// Sidecar reports whether c is an init container that stays running.
func (c *containerState) Sidecar() bool {
	return (&podstatus.Container{Spec: c.spec, Init: c.init}).Sidecar()
}

// setWaiting makes a new state: the one before is in the hands of the publisher.
func (c *containerState) setWaiting(reason, message string) {
	c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// exitCode is that of the last end; ok is false before the first one.
func (c *containerState) exitCode() (code int32, ok bool) {
	for _, state := range []corev1.ContainerState{c.state, c.last} {
		if state.Terminated != nil {
			return state.Terminated.ExitCode, true
		}
	}
	return 0, false
}

// done reports whether an init container lets the next one start.
func (c *containerState) done() bool {
	if c.Sidecar() {
		return c.started
	}
	code, ended := c.exitCode()
	return c.process == nil && ended && code == 0
}

// mayStart reports whether the container, which is not running, is to be started
// by the Pod's restart policy.
func (c *containerState) mayStart(policy corev1.RestartPolicy) bool {
	code, ended := c.exitCode()
	switch {
	case !ended, c.Sidecar():
		return true
	case c.init:
		return code != 0 && policy != corev1.RestartPolicyNever
	case policy == corev1.RestartPolicyAlways:
		return true
	case policy == corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return false
}

// failedForGood reports whether an init container has ended the Pod.
func (c *containerState) failedForGood(policy corev1.RestartPolicy) bool {
	code, ended := c.exitCode()
	return c.init && !c.Sidecar() && c.process == nil && ended && code != 0 && policy == corev1.RestartPolicyNever
}

// wasProbedReady reports whether the container got so far that its probe said so:
// that is no loop of crashes.
func (c *containerState) wasProbedReady() bool { return c.ready && c.spec.ReadinessProbe != nil }

// noticeExit takes note of a process that has ended, and decides about the
// pause before the next start.
func (w *worker) noticeExit(c *containerState) {
	if c.process == nil {
		return
	}
	select {
	case <-c.process.Done():
	default:
		return
	}
	// The log has the cause; wait for its last lines.
	<-c.logDone
	c.stopProbes()
	exit := c.process.Exit()
	ended := &corev1.ContainerStateTerminated{
		ExitCode: int32(exit.Code), Signal: int32(exit.Signal), ContainerID: c.id,
		StartedAt: metav1.NewTime(c.process.StartedAt), FinishedAt: metav1.NewTime(exit.At),
		Reason: "Error", Message: w.terminationMessage(c, exit.Code),
	}
	if exit.Code == 0 {
		ended.Reason = "Completed"
	}
	policy := w.pod.Spec.RestartPolicy
	w.mu.Lock()
	defer w.mu.Unlock()
	if exit.At.Sub(c.process.StartedAt) > calmTime || c.wasProbedReady() {
		c.wait = backoff{}
	}
	c.process, c.stopping, c.unhealthy = nil, nil, ""
	c.ready, c.started = false, false
	c.state = corev1.ContainerState{Terminated: ended}
	if w.pod.DeletionTimestamp != nil || !c.mayStart(policy) {
		return
	}
	if c.starts == 1 {
		return // the first restart comes at once
	}
	c.wait.grow(firstBackoff)
	message := fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", c.wait.pause, c.spec.Name, w.pod.Name)
	c.last = c.state
	c.setWaiting("CrashLoopBackOff", message)
	w.events.Event(w.pod, corev1.EventTypeWarning, "BackOff", message)
}
