// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/podenv"
	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/podstatus"
	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/volume"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// worker brings one Pod to its desired state. Everything that happens (a change
// of the object, the end of a process, a probe's verdict, a time that has come)
// only wakes it up; it then looks at the whole state and does what is due.
type worker struct {
	*kubelet
	dir       string
	startTime time.Time
	wake      chan struct{}
	status    *publisher
	// The rest is the worker goroutine's alone, unless it says otherwise.
	volumes     volume.Set
	mounts      map[string]string // of the volumes, by name
	refreshAt   time.Time         // when the volumes are looked at again
	sandboxWait backoff
	networked   bool
	ended       bool
	pod         *corev1.Pod // latest, as of the beginning of sync
	deadline    time.Time   // when a terminating Pod is killed
	termGrace   time.Duration

	mu     sync.Mutex
	net    network.PodNet
	latest *corev1.Pod
	absent bool // the Pod's object is gone
	// containers is fixed: init containers first, in the Pod's order. Their states
	// are read by others too, under mu.
	containers []*containerState
}

func newWorker(k *kubelet, pod *corev1.Pod) *worker {
	w := &worker{
		kubelet: k, pod: pod, latest: pod, startTime: time.Now(), wake: make(chan struct{}, 1),
		dir: filepath.Join(k.StateDir, "pods", string(pod.UID)),
	}
	w.status = newPublisher(k.client, pod)
	w.volumes = volume.Set{
		Dir:     filepath.Join(w.dir, "volumes"),
		HostDir: filepath.Join(k.StateDir, "hostpath", k.Node.Name),
		Objects: k.objects,
	}
	for i := range pod.Spec.InitContainers {
		w.containers = append(w.containers, newContainerState(&pod.Spec.InitContainers[i], true))
	}
	for i := range pod.Spec.Containers {
		w.containers = append(w.containers, newContainerState(&pod.Spec.Containers[i], false))
	}
	return w
}

func (w *worker) update(pod *corev1.Pod) {
	w.mu.Lock()
	w.latest = pod
	w.mu.Unlock()
	w.poke()
}

func (w *worker) gone() {
	w.mu.Lock()
	w.absent = true
	w.mu.Unlock()
	w.poke()
}

// poke wakes the worker up, now or when it is next ready to listen.
func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) currentPod() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latest
}

// run works until the Pod is gone, or ctx ends: then it kills the Pod's
// processes without further ado, as a machine does that is switched off.
func (w *worker) run(ctx context.Context) {
	publishing, stopPublishing := context.WithCancel(ctx)
	defer stopPublishing()
	var publisher sync.WaitGroup
	publisher.Go(func() { w.status.run(publishing) })
	for ctx.Err() == nil {
		next := w.sync(ctx)
		if !w.isAbsent() {
			w.publish()
		}
		if w.ended {
			break
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-w.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	w.killAll()
	w.removeSandbox()
	if w.ended && !w.isAbsent() {
		// What holds the Pod's name in the apiserver goes last.
		w.status.finish()
	} else {
		stopPublishing()
	}
	publisher.Wait()
}

func (w *worker) isAbsent() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.absent
}

// sync does what is due and returns when to look again, at the latest.
func (w *worker) sync(ctx context.Context) time.Time {
	next := time.Now().Add(time.Minute)
	w.pod = w.currentPod()
	for _, c := range w.containers {
		w.noticeExit(c)
	}
	if w.terminating() {
		w.terminate(ctx)
		return w.stopDue(next)
	}
	if w.finished() {
		w.stopAll(ctx, time.Now().Add(gracePeriod(w.pod)))
		return w.stopDue(next)
	}
	if !w.ensureSandbox(ctx) {
		return earlier(next, w.sandboxWait.until)
	}
	w.stopUnhealthy(ctx)
	for _, c := range w.due() {
		w.startContainer(ctx, c)
	}
	for _, c := range w.containers {
		if c.process == nil {
			next = earlier(next, c.wait.until)
		}
	}
	return earlier(w.stopDue(next), w.refreshAt)
}

func earlier(a, b time.Time) time.Time {
	if b.After(time.Time{}) && b.Before(a) {
		return b
	}
	return a
}

// due returns the containers to start now: the first init container that is
// not done; all others once every one is.
func (w *worker) due() []*containerState {
	w.mu.Lock()
	defer w.mu.Unlock()
	var due []*containerState
	now := time.Now()
	for _, c := range w.containers {
		if c.process == nil && !c.wait.until.After(now) && c.mayStart(w.pod.Spec.RestartPolicy) {
			due = append(due, c)
		}
		if c.init && !c.done() {
			// Not one further.
			break
		}
	}
	return due
}

// finished reports whether the Pod has come to its own end: every container ended
// and none will be started again.
func (w *worker) finished() bool {
	policy := w.pod.Spec.RestartPolicy
	for _, c := range w.containers {
		if c.init && c.failedForGood(policy) {
			return true
		}
	}
	for _, c := range w.containers {
		if !c.init && (c.process != nil || c.mayStart(policy)) {
			return false
		}
	}
	return true
}

// publish reports the present state.
func (w *worker) publish() {
	facts := podstatus.Facts{
		HostIPs: []string{w.Node.IPv4.String(), w.Node.IPv6.String()}, PodIPs: w.podIPs(),
		StartTime: w.startTime, Networked: w.networked, Ended: w.ended,
	}
	w.mu.Lock()
	for _, c := range w.containers {
		facts.Containers = append(facts.Containers, c.report())
	}
	w.mu.Unlock()
	w.status.publish(w.pod, facts)
}

func (w *worker) podIPs() []string {
	switch {
	case w.pod.Spec.HostNetwork:
		return []string{w.Node.IPv4.String(), w.Node.IPv6.String()}
	case w.networked:
		return []string{w.net.IPv4.String(), w.net.IPv6.String()}
	}
	return nil
}

func (w *worker) downward() podenv.Downward {
	return podenv.Downward{
		Pod: w.pod, PodIPs: w.podIPs(),
		HostIPs: []string{w.Node.IPv4.String(), w.Node.IPv6.String()},
	}
}

// netNSPath is the file of the Pod's network namespace, for other goroutines.
func (w *worker) netNSPath() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.net.NetNSPath
}
