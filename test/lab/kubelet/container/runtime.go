// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// selfPath is the running binary, even when the file was replaced since.
const selfPath = "/proc/self/exe"

// ErrClosed is returned for a start after Close.
var ErrClosed = errors.New("the container runtime is closed")

// Runtime starts containers. All forks happen on one OS thread that lives until
// Close: the kernel sends the parent death signal when the forking thread ends,
// and Go ends threads when it likes.
type Runtime struct {
	forks     chan func()
	closed    chan struct{}
	closeOnce sync.Once
}

// NewRuntime starts the forking thread.
func NewRuntime() *Runtime {
	r := &Runtime{forks: make(chan func()), closed: make(chan struct{})}
	go r.forkLoop()
	return r
}

func (r *Runtime) forkLoop() {
	runtime.LockOSThread()
	if os.Getpid() == unix.Gettid() {
		// Go parks the process's first thread instead of ending it, and Close
		// wants an end: try another thread while this one is taken.
		go r.forkLoop()
		<-r.closed
		runtime.UnlockOSThread()
		return
	}
	// Never unlocked: the thread ends with this goroutine and takes down whatever
	// was left running.
	for {
		select {
		case fork := <-r.forks:
			fork()
		case <-r.closed:
			return
		}
	}
}

// Close kills every container that still runs.
func (r *Runtime) Close() { r.closeOnce.Do(func() { close(r.closed) }) }

// start forks cmd on the forking thread.
func (r *Runtime) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	select {
	case r.forks <- func() { result <- cmd.Start() }:
		return <-result
	case <-r.closed:
		return ErrClosed
	}
}

// Start runs the container and returns once its program has begun. stdout and
// stderr are the program's; the caller closes its own copies.
func (r *Runtime) Start(spec Spec, stdout, stderr *os.File) (*Process, error) {
	config, failure, err := childPipes(spec)
	if err != nil {
		return nil, err
	}
	defer config.Close()
	defer failure.read.Close()
	cmd := &exec.Cmd{
		Path: selfPath, Args: []string{initName}, Env: []string{},
		Stdout: stdout, Stderr: stderr,
		ExtraFiles: []*os.File{config, failure.write},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
			Setsid:     true,
			Pdeathsig:  syscall.SIGKILL,
		},
	}
	err = r.start(cmd)
	failure.write.Close()
	if err != nil {
		return nil, fmt.Errorf("fork the container: %w", err)
	}
	// The exec of the program closes the pipe's other end without a word.
	message, err := io.ReadAll(failure.read)
	if err == nil && len(message) > 0 {
		err = errors.New(string(message))
	}
	if err != nil {
		return nil, errors.Join(err, discard(cmd))
	}
	return newProcess(r, spec, cmd), nil
}

// discard reaps a child that did not become a container.
func discard(cmd *exec.Cmd) error {
	err := cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	var exit *exec.ExitError
	if waitErr := cmd.Wait(); waitErr != nil && !errors.As(waitErr, &exit) {
		err = errors.Join(err, waitErr)
	}
	return err
}

type pipe struct{ read, write *os.File }

// childPipes makes the two descriptors of the child: 3, its configuration, and
// 4, which stays silent unless the child fails before the program runs.
func childPipes(config any) (*os.File, pipe, error) {
	data, err := json.Marshal(config)
	if err != nil {
		return nil, pipe{}, fmt.Errorf("encode the container: %w", err)
	}
	file, err := memoryFile("container", data)
	if err != nil {
		return nil, pipe{}, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, pipe{}, errors.Join(fmt.Errorf("make a pipe: %w", err), file.Close())
	}
	return file, pipe{read, write}, nil
}
