// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// The names under which the binary re-executes itself.
const (
	initName = "fairlead-container-init"
	execName = "fairlead-container-exec"
)

// The descriptors that a child is started with.
const (
	configFD  = 3
	failureFD = 4
)

// MaybeInit turns the process into a container when it was started as one, and
// does not return then. Call it first in main, and in TestMain of tests that
// start containers.
func MaybeInit() {
	if len(os.Args) == 0 {
		return
	}
	switch os.Args[0] {
	case initName:
		runtime.LockOSThread()
		fail(runInit(), 1)
	case execName:
		runtime.LockOSThread()
		code, err := runExec()
		fail(err, code)
	}
}

// fail reports the error, if any, to the parent and ends the process.
func fail(err error, code int) {
	if err != nil {
		// If this write fails, the error cannot be reported.
		_, _ = os.NewFile(failureFD, "failure").WriteString(err.Error())
	}
	os.Exit(code)
}

func readConfig(into any) error {
	unix.CloseOnExec(failureFD)
	file := os.NewFile(configFD, "config")
	data, err := io.ReadAll(file)
	if err != nil {
		return fmt.Errorf("read the container's configuration: %w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("decode the container's configuration: %w", err)
	}
	return file.Close()
}

// runInit is the container's first process: it returns only on failure.
func runInit() error {
	var spec Spec
	if err := readConfig(&spec); err != nil {
		return err
	}
	if err := joinNetwork(spec.NetNSPath); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return fmt.Errorf("set the hostname %q: %w", spec.Hostname, err)
	}
	if err := enterRoot(&spec); err != nil {
		return err
	}
	// Programs such as nginx open /dev/stderr again, as their own user.
	for _, fd := range []int{1, 2} {
		if err := unix.Fchown(fd, int(spec.User.UID), int(spec.User.GID)); err != nil {
			return fmt.Errorf("hand the output to user %d: %w", spec.User.UID, err)
		}
	}
	unix.Umask(0o022)
	if err := become(&spec); err != nil {
		return err
	}
	program, err := lookPath(spec.Args[0], spec.Env)
	if err != nil {
		return fmt.Errorf("cannot run the command: %w", err)
	}
	return fmt.Errorf("run %q: %w", program, syscall.Exec(program, spec.Args, spec.Env))
}

func joinNetwork(file string) error {
	netns, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
		return errors.Join(fmt.Errorf("join the network namespace %s: %w", file, err), netns.Close())
	}
	return netns.Close()
}

// memoryFile is an anonymous file with the given content, at its start.
func memoryFile(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a memory file: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	if _, err := file.WriteAt(data, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("fill a memory file: %w", err), file.Close())
	}
	return file, nil
}
