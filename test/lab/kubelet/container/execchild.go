// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// The exit codes of a command that cannot be run, as shells have them.
const (
	codeCannotRun = 126
	codeNotFound  = 127
)

// runExec enters the container's namespaces, runs the command as its child (one
// cannot move into a PID namespace, only be born there) and ends as it ends.
func runExec() (int, error) {
	cancelled := make(chan os.Signal, 1)
	signal.Notify(cancelled, syscall.SIGTERM)
	var config execConfig
	if err := readConfig(&config); err != nil {
		return codeCannotRun, err
	}
	if err := enter(config.PID); err != nil {
		return codeCannotRun, err
	}
	if err := os.Chdir(cmp.Or(config.Spec.Dir, "/")); err != nil {
		return codeCannotRun, fmt.Errorf("enter the working directory: %w", err)
	}
	unix.Umask(0o022)
	if err := become(&config.Spec); err != nil {
		return codeCannotRun, err
	}
	if len(config.Args) == 0 {
		return codeCannotRun, errors.New("no command given")
	}
	program, err := lookPath(config.Args[0], config.Spec.Env)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return codeNotFound, fmt.Errorf("cannot run the command: %w", err)
	}
	if err != nil {
		return codeCannotRun, fmt.Errorf("cannot run the command: %w", err)
	}
	return runAndWait(program, &config, cancelled)
}

// enter joins the namespaces of the process. The mount namespace comes last: the
// others are found through the host's /proc.
func enter(pid int) error {
	kinds := []struct {
		name string
		flag int
	}{{"net", unix.CLONE_NEWNET}, {"uts", unix.CLONE_NEWUTS}, {"ipc", unix.CLONE_NEWIPC}, {"pid", unix.CLONE_NEWPID}, {"mnt", unix.CLONE_NEWNS}}
	files := make([]*os.File, len(kinds))
	for i, kind := range kinds {
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind.name))
		if err != nil {
			return fmt.Errorf("find the container: %w", err)
		}
		files[i] = file
	}
	// A thread that shares its root directory with others may not change it.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare the root directory: %w", err)
	}
	for i, kind := range kinds {
		if err := unix.Setns(int(files[i].Fd()), kind.flag); err != nil {
			return fmt.Errorf("join the container's %s namespace: %w", kind.name, err)
		}
		if err := files[i].Close(); err != nil {
			return err
		}
	}
	return nil
}

// runAndWait does not use Pdeathsig: Go's check for a parent that is already dead
// takes a parent outside of the PID namespace for one, and kills the child.
// Instead SIGTERM is passed on; and the command cannot outlive the container.
func runAndWait(program string, config *execConfig, cancelled <-chan os.Signal) (int, error) {
	env := config.Spec.Env
	if config.Terminal {
		env = append([]string{"TERM=xterm"}, env...)
	}
	child, err := syscall.ForkExec(program, config.Args, &syscall.ProcAttr{
		Env: env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: config.Terminal},
	})
	if err != nil {
		return codeCannotRun, fmt.Errorf("run %q: %w", program, err)
	}
	go func() {
		<-cancelled
		// The command's process group; it may have ended just now.
		_ = syscall.Kill(-child, syscall.SIGKILL)
	}()
	// Our own copies of the streams go, so that their readers see the end with
	// the command's. The last one reports to the parent that the command has started;
	// from there on, only the exit code can carry a failure.
	for _, fd := range []int{0, 1, 2, failureFD} {
		if err := syscall.Close(fd); err != nil {
			return codeCannotRun, fmt.Errorf("close descriptor %d: %w", fd, err)
		}
	}
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(child, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return codeCannotRun, nil
		}
		if status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return status.ExitStatus(), nil
	}
}
