// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// ErrNotRunning is returned for an Exec in a container that has ended.
var ErrNotRunning = errors.New("the container is not running")

// Streams are what an Exec reads and writes; each may be nil.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// Resize, if set, requests a terminal and carries its sizes.
	Resize <-chan TerminalSize
}

// execConfig is the configuration from the parent to the child of an Exec.
type execConfig struct {
	Spec Spec
	// PID is the container's first process, whose namespaces to enter.
	PID      int
	Args     []string
	Terminal bool
}

// Exec runs a command inside the container, with the container's user,
// environment and capabilities, and waits for its end. When ctx ends first the
// command is killed. The error is nil whatever the exit code is.
func (p *Process) Exec(ctx context.Context, args []string, streams Streams) (Exit, error) {
	select {
	case <-p.done:
		return Exit{}, ErrNotRunning
	default:
	}
	config, failure, err := childPipes(execConfig{
		Spec: p.spec, PID: p.PID(), Args: args, Terminal: streams.Resize != nil,
	})
	if err != nil {
		return Exit{}, err
	}
	defer config.Close()
	defer failure.read.Close()
	cmd := &exec.Cmd{
		Path: selfPath, Args: []string{execName}, Env: []string{},
		ExtraFiles:  []*os.File{config, failure.write},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	plumbing, err := connect(cmd, streams)
	if err != nil {
		return Exit{}, errors.Join(err, failure.write.Close())
	}
	err = p.runtime.start(cmd)
	failure.write.Close()
	plumbing.started()
	if err != nil {
		plumbing.abandon()
		return Exit{}, fmt.Errorf("fork the command: %w", err)
	}
	message, err := io.ReadAll(failure.read)
	if err != nil {
		plumbing.abandon()
		return Exit{}, errors.Join(err, discard(cmd))
	}
	stop := context.AfterFunc(ctx, func() {
		// It has ended by itself, or it ends now: either way Wait returns.
		_ = cmd.Process.Signal(syscall.SIGTERM)
	})
	defer stop()
	exit := exitOf(cmd.Wait(), cmd.ProcessState)
	if err := plumbing.drain(ctx); err != nil {
		return exit, err
	}
	if len(message) > 0 {
		return exit, &StartError{Code: exit.Code, Message: string(message)}
	}
	return exit, ctx.Err()
}

// StartError is returned for a command that could not be run in the container.
type StartError struct {
	// Code is what a shell would answer: 126, or 127 for a missing program.
	Code    int
	Message string
}

func (e *StartError) Error() string { return e.Message }
