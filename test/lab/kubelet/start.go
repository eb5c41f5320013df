// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/test/lab/images"
	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/container"
	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/logs"
	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/podenv"
	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/security"
	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/volume"
)

// terminationMessageLimit is the API's bound.
const terminationMessageLimit = 4096

// startError is why a container does not run, in the words of the API.
type startError struct {
	reason string
	err    error
}

func (e *startError) Error() string { return e.err.Error() }

// startContainer starts the container, or records in its state why that failed and
// when to try again.
func (w *worker) startContainer(ctx context.Context, c *containerState) {
	failure := w.tryStart(ctx, c)
	if failure == nil {
		return
	}
	w.mu.Lock()
	if c.state.Terminated != nil {
		c.last = c.state
	}
	c.setWaiting(failure.reason, failure.Error())
	c.wait.grow(firstBackoff)
	w.mu.Unlock()
	w.events.Event(w.pod, corev1.EventTypeWarning, "Failed", fmt.Sprintf("container %s: %v", c.spec.Name, failure))
}

func (w *worker) tryStart(ctx context.Context, c *containerState) *startError {
	image, err := w.Images.Lookup(c.spec.Image)
	if err != nil {
		return &startError{"ErrImagePull", err}
	}
	spec, err := w.containerSpec(ctx, c, image)
	if err != nil {
		return &startError{"CreateContainerConfigError", err}
	}
	attempt := c.starts
	dir := w.containerDir(c)
	for _, made := range []string{spec.Root, dir} {
		if err := os.MkdirAll(made, 0o700); err != nil {
			return &startError{"CreateContainerError", err}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "message"), nil, 0o666); err != nil {
		return &startError{"CreateContainerError", err}
	}
	if err := os.Chmod(filepath.Join(dir, "message"), 0o666); err != nil {
		return &startError{"CreateContainerError", err}
	}
	log := filepath.Join(dir, fmt.Sprintf("%d.log", attempt))
	process, done, err := w.runLogged(spec, log)
	if err != nil {
		return &startError{"RunContainerError", err}
	}
	w.started(c, process, log, done)
	// For people and tests that want to kill it: from inside, nothing can.
	if err := os.WriteFile(filepath.Join(dir, "pid"), fmt.Appendln(nil, process.PID()), 0o600); err != nil {
		w.events.Event(w.pod, corev1.EventTypeWarning, "FailedPIDFile", err.Error())
	}
	return nil
}

// started takes note of the new process.
func (w *worker) started(c *containerState, process *container.Process, log string, logDone chan struct{}) {
	if c.starts > 1 {
		// Only the previous log can still be read; a missing file is
		// a start that failed.
		_ = os.Remove(filepath.Join(w.containerDir(c), fmt.Sprintf("%d.log", c.starts-2)))
	}
	w.mu.Lock()
	if c.state.Terminated != nil {
		c.last = c.state
	}
	c.process, c.logDone = process, logDone
	c.oldLog, c.log = c.log, log
	c.id = fmt.Sprintf("lab://%s-%s-%d", shortID(string(w.pod.UID)), c.spec.Name, c.starts)
	c.starts++
	c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(process.StartedAt)}}
	w.mu.Unlock()
	w.events.Event(w.pod, corev1.EventTypeNormal, "Started", "Started container "+c.spec.Name)
	w.startProbes(c, process)
	go func() {
		<-process.Done()
		<-logDone
		w.poke()
	}()
}

func (w *worker) containerDir(c *containerState) string {
	return filepath.Join(w.dir, "containers", c.spec.Name)
}

// runLogged starts the container with its output going to the log. The channel
// is closed when the log is complete.
func (w *worker) runLogged(spec container.Spec, log string) (*container.Process, chan struct{}, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("make the log: %w", err)
	}
	pod := w.pod
	var copies sync.WaitGroup
	var childEnds []*os.File
	for _, stream := range []string{"stdout", "stderr"} {
		read, write, err := os.Pipe()
		if err != nil {
			err = fmt.Errorf("make a pipe: %w", err)
			return nil, nil, errors.Join(err, closeFiles(append(childEnds, file)))
		}
		childEnds = append(childEnds, write)
		copies.Go(func() {
			if err := logs.Write(file, stream, read); err != nil {
				w.events.Event(pod, corev1.EventTypeWarning, "FailedLog", err.Error())
				// The container must not block on its output: read on.
				_, _ = io.Copy(io.Discard, read)
			}
			_ = read.Close()
		})
	}
	process, err := w.runtime.Start(spec, childEnds[0], childEnds[1])
	err = errors.Join(err, closeFiles(childEnds))
	done := make(chan struct{})
	go func() {
		copies.Wait()
		_ = file.Close()
		close(done)
	}()
	return process, done, err
}

func closeFiles(files []*os.File) error {
	var err error
	for _, file := range files {
		err = errors.Join(err, file.Close())
	}
	return err
}

// containerSpec builds the Spec from the Pod and the image.
func (w *worker) containerSpec(ctx context.Context, c *containerState, image images.Image) (container.Spec, error) {
	base, err := w.objects.kubernetesService(ctx)
	if err != nil {
		return container.Spec{}, err
	}
	builder := podenv.Builder{
		Objects: w.objects, Downward: w.downward(),
		Base: append([]podenv.Variable{
			{Name: "PATH", Value: container.DefaultPath}, {Name: "HOSTNAME", Value: w.hostname()},
		}, base...),
	}
	env, err := builder.Build(ctx, c.spec)
	if err != nil {
		return container.Spec{}, err
	}
	spec := container.Spec{
		Hostname: w.hostname(), NetNSPath: w.net.NetNSPath, Root: filepath.Join(w.containerDir(c), "root"),
		Hidden: []string{w.StateDir}, Env: env, Dir: c.spec.WorkingDir,
		Args: image.Args(expandAll(c.spec.Command, env), expandAll(c.spec.Args, env)),
	}
	if len(spec.Args) == 0 {
		return spec, errors.New("no command specified")
	}
	if err := security.Apply(&spec, w.pod, c.spec); err != nil {
		return spec, err
	}
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "HOME=") }) {
		home := "/"
		if spec.User.UID == 0 {
			home = "/root"
		}
		spec.Env = append(spec.Env, "HOME="+home)
	}
	spec.Mounts, err = w.containerMounts(c, image, env)
	return spec, err
}

func expandAll(texts, env []string) []string {
	values := map[string]string{}
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		values[name] = value
	}
	expanded := make([]string, len(texts))
	for i, text := range texts {
		expanded[i] = podenv.Expand(text, func(name string) (string, bool) { value, ok := values[name]; return value, ok })
	}
	return expanded
}

// containerMounts are the image's files, the Pod's names and the volumes. A
// volume may lie over any of the others.
func (w *worker) containerMounts(c *containerState, image images.Image, env []string) ([]container.Mount, error) {
	mounts := map[string]container.Mount{}
	add := func(source, target string, readOnly bool) {
		target = filepath.Clean("/" + target)
		mounts[target] = container.Mount{Source: source, Target: target, ReadOnly: readOnly}
	}
	for target, source := range image.Files {
		add(source, target, true)
	}
	for _, name := range []string{"hostname", "hosts", "resolv.conf"} {
		add(filepath.Join(w.dir, name), "/etc/"+name, false)
	}
	message := c.spec.TerminationMessagePath
	if message == "" {
		message = corev1.TerminationMessagePathDefault
	}
	add(filepath.Join(w.containerDir(c), "message"), message, false)
	for _, m := range c.spec.VolumeMounts {
		source, ok := w.mounts[m.Name]
		if !ok {
			return nil, fmt.Errorf("volumeMount %q: no such volume", m.Name)
		}
		sub := m.SubPath
		if m.SubPathExpr != "" {
			sub = expandAll([]string{m.SubPathExpr}, env)[0]
		}
		source, err := volume.SubPath(source, sub)
		if err != nil {
			return nil, fmt.Errorf("volumeMount %q: %w", m.Name, err)
		}
		add(source, m.MountPath, m.ReadOnly)
	}
	return slices.Collect(maps.Values(mounts)), nil
}

// terminationMessage is what the container left in its message file, or the end
// of its log when it failed and asked for that.
func (w *worker) terminationMessage(c *containerState, code int) string {
	message, err := os.ReadFile(filepath.Join(w.containerDir(c), "message"))
	if err == nil && len(message) == 0 && code != 0 && c.spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		message, err = logs.Tail(c.log, terminationMessageLimit)
	}
	if err != nil {
		return fmt.Sprintf("the termination message cannot be read: %v", err)
	}
	return strings.ToValidUTF8(string(message[max(0, len(message)-terminationMessageLimit):]), "")
}
