// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Exit describes how a process ended.
type Exit struct {
	// Code is the exit code; 128 + Signal for a process that a signal ended.
	Code int
	// Signal is the number of that signal, or 0.
	Signal int
	At     time.Time
}

// Process is a started container.
type Process struct {
	// StartedAt is when its program began.
	StartedAt time.Time

	runtime *Runtime
	spec    Spec
	cmd     *exec.Cmd
	done    chan struct{}
	exit    Exit
}

func newProcess(r *Runtime, spec Spec, cmd *exec.Cmd) *Process {
	p := &Process{StartedAt: time.Now(), runtime: r, spec: spec, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.exit = exitOf(cmd.Wait(), cmd.ProcessState)
	}()
	return p
}

// exitOf reads the process's end from its state. A wait without one is an
// error of the kernel's that leaves nothing to know: code 255.
func exitOf(err error, state *os.ProcessState) Exit {
	exit := Exit{Code: 255, At: time.Now()}
	if err != nil && state == nil {
		return exit
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		exit.Signal = int(status.Signal())
		exit.Code = 128 + exit.Signal
		return exit
	}
	exit.Code = state.ExitCode()
	return exit
}

// PID is the container's first process, as the host numbers it.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the container has ended, with all its processes.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit returns how the container ended; valid once Done is closed.
func (p *Process) Exit() Exit { return p.exit }

// Signal sends sig to the container's first process. A container that has ended
// is no error. Like every first process of a PID namespace, it gets only the
// signals that it handles, and SIGKILL.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to the container: %w", sig, err)
	}
	return nil
}
