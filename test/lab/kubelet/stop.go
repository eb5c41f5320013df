// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"fmt"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// stopping is a container on its way out.
type stopping struct {
	// killAt is when patience ends.
	killAt time.Time
	// hooked is closed when the preStop hook is over.
	hooked     chan struct{}
	terminated bool // SIGTERM was sent
	killed     bool // SIGKILL was sent
}

// gracePeriod is the time that the Pod's containers get to end.
func gracePeriod(pod *corev1.Pod) time.Duration {
	seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
	for _, given := range []*int64{pod.Spec.TerminationGracePeriodSeconds, pod.DeletionGracePeriodSeconds} {
		if given != nil {
			seconds = *given
		}
	}
	return time.Duration(seconds) * time.Second
}

// terminating reports whether the Pod is to go, and keeps the deadline: counted
// from when the kubelet learnt of it, and only ever moved closer.
func (w *worker) terminating() bool {
	var grace time.Duration
	switch {
	case w.isAbsent():
	case w.pod.DeletionTimestamp != nil:
		grace = gracePeriod(w.pod)
	default:
		return false
	}
	if w.deadline.IsZero() {
		w.deadline = time.Now().Add(grace)
		w.termGrace = grace
	} else if grace < w.termGrace {
		w.deadline = earlier(w.deadline, time.Now().Add(grace))
		w.termGrace = grace
	}
	return true
}

// terminate stops the Pod's containers, and ends the Pod once none runs.
func (w *worker) terminate(ctx context.Context) {
	if !w.stopAll(ctx, w.deadline) {
		w.ended = true
	}
}

// stopAll asks the Pod's containers to end until the deadline: the sidecars only
// when the others have. It reports whether any still runs.
func (w *worker) stopAll(ctx context.Context, deadline time.Time) bool {
	for _, sidecars := range []bool{false, true} {
		running := false
		for _, c := range w.containers {
			if c.process != nil && c.Sidecar() == sidecars {
				running = true
				w.beginStop(ctx, c, deadline, "Stopping container "+c.spec.Name)
			}
		}
		if running {
			return true
		}
	}
	return false
}

// beginStop starts the end of a container: its preStop hook, then SIGTERM, and
// SIGKILL when the deadline has come. stopDue does the latter two.
func (w *worker) beginStop(ctx context.Context, c *containerState, deadline time.Time, why string) {
	if c.stopping != nil {
		c.stopping.killAt = earlier(c.stopping.killAt, deadline)
		return
	}
	c.stopping = &stopping{killAt: deadline, hooked: make(chan struct{})}
	w.events.Event(w.pod, corev1.EventTypeNormal, "Killing", why)
	hooked := c.stopping.hooked
	if c.spec.Lifecycle == nil || c.spec.Lifecycle.PreStop == nil || !deadline.After(time.Now()) {
		close(hooked)
		return
	}
	hook, target, pod := c.spec.Lifecycle.PreStop, w.target(c, c.process), w.pod
	go func() {
		ctx, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		if err := runHook(ctx, target, hook); err != nil {
			w.events.Event(pod, corev1.EventTypeWarning, "FailedPreStopHook", fmt.Sprintf("PreStopHook failed: %v", err))
		}
		close(hooked)
		w.poke()
	}()
}

// stopDue sends the signals whose time has come to the containers that are being
// stopped, and returns when the next is due.
func (w *worker) stopDue(next time.Time) time.Time {
	for _, c := range w.containers {
		if c.process == nil || c.stopping == nil {
			continue
		}
		s := c.stopping
		select {
		case <-s.hooked:
			if !s.terminated {
				s.terminated = true
				w.signal(c, syscall.SIGTERM)
			}
		default:
		}
		if s.killed {
			continue
		}
		if time.Now().Before(s.killAt) {
			next = earlier(next, s.killAt)
			continue
		}
		s.killed = true
		w.signal(c, syscall.SIGKILL)
	}
	return next
}

func (w *worker) signal(c *containerState, signal syscall.Signal) {
	if err := c.process.Signal(signal); err != nil {
		w.events.Event(w.pod, corev1.EventTypeWarning, "FailedKillPod", fmt.Sprintf("container %s: %v", c.spec.Name, err))
	}
}

// killAll leaves no process of the Pod.
func (w *worker) killAll() {
	for _, c := range w.containers {
		if c.process == nil {
			continue
		}
		c.stopProbes()
		w.signal(c, syscall.SIGKILL)
		<-c.process.Done()
		<-c.logDone
	}
}
