// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/container"
	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/probe"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// errPodEnds is why the probes of a container stop.
var errPodEnds = errors.New("the container has ended")

func (w *worker) target(c *containerState, process *container.Process) probe.Target {
	return probe.Target{
		IP: w.podIPs()[0], Container: c.spec, Process: process,
		Dial: network.DialContext(w.Node.NetNSPath),
	}
}

// startProbes probes a container that has just been started: with the startup
// probe until that succeeds, then with the others.
func (w *worker) startProbes(c *containerState, process *container.Process) {
	ctx, cancel := context.WithCancelCause(context.Background())
	c.stopProbes = func() { cancel(errPodEnds) }
	run := probes{worker: w, state: c, process: process, target: w.target(c, process), pod: w.pod}
	go func() {
		if !run.postStart(ctx) {
			return
		}
		started := make(chan struct{})
		if c.spec.StartupProbe == nil {
			close(started)
		} else {
			go run.startup(ctx, started)
		}
		select {
		case <-ctx.Done():
			return
		case <-started:
		}
		run.verdict(func() { c.started, c.ready = true, c.spec.ReadinessProbe == nil })
		if c.spec.ReadinessProbe != nil {
			go run.readiness(ctx)
		}
		if c.spec.LivenessProbe != nil {
			go run.liveness(ctx)
		}
	}()
}

// probes is what the probes of one start of a container share.
type probes struct {
	*worker
	state   *containerState
	process *container.Process
	target  probe.Target
	pod     *corev1.Pod
}

// verdict changes the container's state, unless it is not this start's any more.
func (p probes) verdict(change func()) {
	p.mu.Lock()
	current := p.state.process == p.process
	if current {
		change()
	}
	p.mu.Unlock()
	if current {
		p.poke()
	}
}

// postStart runs the hook of that name. The container ends when it fails.
func (p probes) postStart(ctx context.Context) bool {
	if p.state.spec.Lifecycle == nil || p.state.spec.Lifecycle.PostStart == nil {
		return true
	}
	err := runHook(ctx, p.target, p.state.spec.Lifecycle.PostStart)
	if err != nil && ctx.Err() == nil {
		p.events.Event(p.pod, corev1.EventTypeWarning, "FailedPostStartHook", fmt.Sprintf("PostStartHook failed: %v", err))
		p.kill(&corev1.Probe{}, "failed its PostStartHook")
	}
	return err == nil
}

func (p probes) startup(ctx context.Context, started chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	loop := p.loop(p.state.spec.StartupProbe, "Startup", func(ok bool) {
		if !ok {
			p.kill(p.state.spec.StartupProbe, "failed startup probe")
			return
		}
		cancel()
		close(started)
	})
	loop.Eager = true
	loop.Run(ctx)
	cancel()
}

func (p probes) readiness(ctx context.Context) {
	loop := p.loop(p.state.spec.ReadinessProbe, "Readiness", func(ok bool) {
		p.verdict(func() { p.state.ready = ok })
	})
	loop.Eager = true
	loop.Run(ctx)
}

func (p probes) liveness(ctx context.Context) {
	loop := p.loop(p.state.spec.LivenessProbe, "Liveness", func(ok bool) {
		if !ok {
			p.kill(p.state.spec.LivenessProbe, "failed liveness probe")
		}
	})
	loop.OK = true
	loop.Run(ctx)
}

func (p probes) loop(spec *corev1.Probe, name string, report func(ok bool)) *probe.Loop {
	return &probe.Loop{
		Probe: spec,
		Try:   func(ctx context.Context) error { return p.target.Check(ctx, spec.ProbeHandler) },
		Report: func(ok bool, err error) {
			if err != nil {
				message := fmt.Sprintf("%s probe failed for container %s: %v", name, p.state.spec.Name, err)
				p.events.Event(p.pod, corev1.EventTypeWarning, "Unhealthy", message)
			}
			report(ok)
		},
	}
}

// kill asks the worker to stop the container, which the restart policy then
// treats like any other end.
func (p probes) kill(spec *corev1.Probe, why string) {
	grace := gracePeriod(p.pod)
	if spec.TerminationGracePeriodSeconds != nil {
		grace = time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second
	}
	p.verdict(func() {
		if p.state.unhealthy == "" {
			p.state.unhealthy, p.state.unhealthyGrace = fmt.Sprintf("Container %s %s, will be restarted", p.state.spec.Name, why), grace
		}
	})
}

// stopUnhealthy stops the containers that a probe has condemned.
func (w *worker) stopUnhealthy(ctx context.Context) {
	for _, c := range w.containers {
		w.mu.Lock()
		why, grace := c.unhealthy, c.unhealthyGrace
		w.mu.Unlock()
		if c.process != nil && why != "" && c.stopping == nil {
			w.beginStop(ctx, c, time.Now().Add(grace), why)
		}
	}
}

// runHook runs a lifecycle hook.
func runHook(ctx context.Context, target probe.Target, hook *corev1.LifecycleHandler) error {
	switch {
	case hook.Exec != nil:
		return target.Exec(ctx, hook.Exec.Command)
	case hook.HTTPGet != nil:
		return target.HTTPGet(ctx, hook.HTTPGet)
	case hook.Sleep != nil:
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(hook.Sleep.Seconds) * time.Second):
		}
		return nil
	}
	return errors.New("a hook of no known kind")
}
