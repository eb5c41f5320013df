// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package vm runs a command on another kernel: a Debian kernel under QEMU, with the
// root file system of this machine. So the command finds all programs, libraries and
// files here; what it writes is in the VM's memory and gone afterwards.
//
//	hack/vm ── this program ──┬── qemu ── kernel ── /init: this program ── command
//	                          └── virtiofsd: / of this machine, read-only
//
// Nothing is kept in files: host and guest talk through sockets that have no names,
// and all processes die with this one.
package vm

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// Exit statuses of the launcher that are not the command's, as timeout(1) and
// env(1) use them.
const (
	TimedOut  = 124 // the command did not end in time
	Failed    = 125 // the VM failed
	cannotRun = 127 // the command cannot be started
)

// Command is what runs inside.
type Command struct {
	Args, Env []string
	Dir       string
	// Stdout and Stderr are one pipe inside if they are the same file.
	Stdout, Stderr *os.File
	// Tap is a tap device that is open. If there is one, it is the other end of the guest's network card, eth0,
	// which is there once the module virtio_net is loaded.
	Tap *os.File
}

// boots is how often a kernel that does not get as far as the command is booted. Emulated,
// one panics now and then while it sets up its processors and timers.
const boots = 3

// Run boots the kernel, runs the command and returns its exit status. The end of the
// context ends the VM.
func Run(caller context.Context, k Kernel, a Accelerator, c Command) (int, error) {
	for n := 1; ; n++ {
		status, ready, err := runOnce(caller, k, a, c)
		if err == nil || ready || n == boots || caller.Err() != nil {
			return status, err
		}
		fmt.Fprintf(c.Stderr, "vm: boot again: %v\n", err)
	}
}

// runOnce also says whether the guest was ready for the command.
func runOnce(caller context.Context, k Kernel, a Accelerator, c Command) (status int, ready bool, err error) {
	ctx, cancel := context.WithCancelCause(caller)
	defer cancel(nil)
	m, err := boot(ctx, k, a, c.Tap)
	if err != nil {
		return 0, true, err // a program is missing, or cannot be started
	}
	defer m.end()
	// Who waits for a message of the guest wakes up when there is no guest any more.
	stop := context.AfterFunc(ctx, m.end)
	defer stop()
	started := time.AfterFunc(a.bootTime(), func() {
		cancel(fmt.Errorf("the kernel has not booted within %s", a.bootTime()))
	})
	defer started.Stop()

	status, err = m.talk(c, k, func() { ready = true; started.Stop() })
	if err == nil {
		return status, ready, nil
	}
	m.end()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(caller.Err(), context.Canceled) { // interrupted by the user
		return 0, ready, err
	}
	return 0, ready, errors.Join(err, m.story())
}

// talk gives the guest its task, and copies what it says until the command's end.
func (m *machine) talk(c Command, k Kernel, started func()) (int, error) {
	together, err := sameFile(c.Stdout, c.Stderr)
	if err != nil {
		return 0, err
	}
	r := request{Args: c.Args, Env: c.Env, Dir: c.Dir, Modules: k.modules(), Together: together}
	if err := gob.NewEncoder(m.control).Encode(r); err != nil {
		return 0, fmt.Errorf("talk to the VM: %w", err)
	}
	for decoder := gob.NewDecoder(m.control); ; {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return 0, errors.New("the VM has ended before the command did")
		} else if err != nil {
			return 0, fmt.Errorf("talk to the VM: %w", err)
		}
		if e.Ready {
			started()
		}
		_, errOut := c.Stdout.Write(e.Stdout)
		_, errErr := c.Stderr.Write(e.Stderr)
		if err := errors.Join(errOut, errErr); err != nil {
			return 0, err
		}
		if e.Exited {
			return e.Status, nil
		}
	}
}

func sameFile(a, b *os.File) (bool, error) {
	first, err := a.Stat()
	if err != nil {
		return false, err
	}
	second, err := b.Stat()
	return err == nil && os.SameFile(first, second), err
}

// processors of a VM: one that runs on fewer than two has other races than machines.
func processors() int { return max(2, min(4, runtime.NumCPU())) }
