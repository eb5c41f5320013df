// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// InGuest reports whether this process is the init of a guest.
func InGuest() bool { return os.Getpid() == 1 && os.Args[0] == "/init" }

// Guest is the init of the guest: it makes the host's file system its own, runs
// the host's command, and reports its exit status. It does not return: the host
// ends the VM. What goes wrong ends it, too, and is on the console.
func Guest() {
	err := serve()
	fmt.Fprintln(os.Stderr, "init:", err)
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil { // the host started it with -no-reboot
		panic(err)
	}
}

func serve() error {
	if err := errors.Join(loadModules(), mountRoot(), mountAll(), loopbackUp()); err != nil {
		return err
	}
	port, err := openPort(controlPort)
	if err != nil {
		return err
	}
	var r request
	if err := gob.NewDecoder(port).Decode(&r); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	to := newEvents(port)
	if err := to.send(event{Ready: true}); err != nil {
		return fmt.Errorf("report to the host: %w", err)
	}
	status, err := run(r, to)
	if err != nil {
		status = cannotRun
		if err := to.send(event{Stderr: fmt.Appendf(nil, "vm: %v\n", err)}); err != nil {
			return fmt.Errorf("report to the host: %w", err)
		}
	}
	if err := to.send(event{Exited: true, Status: status}); err != nil {
		return fmt.Errorf("report to the host: %w", err)
	}
	select {} // until the host ends the VM
}

// openPort opens a virtio serial port by its name.
func openPort(name string) (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, fmt.Errorf("port %s: %w", name, err)
	}
	for _, file := range names {
		if text, err := os.ReadFile(file); err == nil && string(text) == name+"\n" {
			return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(file)), os.O_RDWR, 0)
		}
	}
	return nil, fmt.Errorf("no virtio serial port %s", name)
}

// outputGrace is how long output is awaited after the command's end, from processes
// that it has left behind.
const outputGrace = time.Second

// run runs the command and returns its exit status like a shell.
func run(r request, to *events) (int, error) {
	if err := enter(r); err != nil {
		return 0, err
	}
	program, err := exec.LookPath(r.Args[0])
	if err != nil {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	var copies sync.WaitGroup
	stdout, err := pipe(&copies, func(b []byte) error { return to.send(event{Stdout: b}) })
	if err != nil {
		return 0, err
	}
	stderr := stdout
	if !r.Together {
		if stderr, err = pipe(&copies, func(b []byte) error { return to.send(event{Stderr: b}) }); err != nil {
			return 0, err
		}
	}
	process, err := os.StartProcess(program, r.Args, &os.ProcAttr{Dir: r.Dir, Env: os.Environ(), Files: []*os.File{null, stdout, stderr}})
	if err != nil {
		return 0, err
	}
	stdout.Close()
	stderr.Close()
	status, err := reapUntil(process.Pid)
	copied := make(chan struct{})
	go func() { copies.Wait(); close(copied) }()
	select {
	case <-copied:
	case <-time.After(outputGrace):
	}
	return status, err
}

// enter gives this process the environment of the command, and the modules of this
// kernel the place where modprobe looks for them.
func enter(r request) error {
	os.Clearenv()
	for _, variable := range r.Env {
		if name, value, ok := strings.Cut(variable, "="); ok {
			if err := os.Setenv(name, value); err != nil {
				return fmt.Errorf("environment: %w", err)
			}
		}
	}
	// Without one the kernel says "(none)", which is no name: Kubernetes' programs use it in labels.
	if err := unix.Sethostname([]byte("vm")); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	limit := syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	target := filepath.Join("/lib/modules", filepath.Base(r.Modules))
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("kernel modules: %w", err)
	}
	return mount(r.Modules, target, "", unix.MS_BIND, "")
}

// pipe returns a pipe's end to write to; what is read from the other one is sent.
func pipe(copies *sync.WaitGroup, send func([]byte) error) (*os.File, error) {
	from, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	copies.Go(func() {
		defer from.Close()
		b := make([]byte, 32<<10)
		for {
			n, err := from.Read(b)
			if n > 0 {
				err = errors.Join(err, send(b[:n]))
			}
			if err != nil {
				return // the end of it, or the host is gone
			}
		}
	})
	return to, nil
}

// reapUntil does what an init has to do, for all processes that lost their
// parents, until the command ends.
func reapUntil(pid int) (int, error) {
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for the command: %w", err)
		case ended != pid:
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		case status.Exited():
			return status.ExitStatus(), nil
		}
	}
}
