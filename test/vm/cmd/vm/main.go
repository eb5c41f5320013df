// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command vm runs a command on a Debian kernel in QEMU, see package vm. It is called
// by hack/vm, which also says what it needs.
//
//	vm [-timeout 20m] [-tap FD] COMMAND...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fairlead-proxy/fairlead/test/vm"
)

func main() {
	if vm.InGuest() {
		vm.Guest()
	}
	timeout := flag.Duration("timeout", 20*time.Minute, "how long the command may take")
	tap := flag.Int("tap", 0, "a file descriptor of a tap device, for a network card")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, errTimeout)
	defer cancel()
	status, err := run(ctx, *tap, flag.Args())
	if err != nil {
		status = vm.Failed
		if errors.Is(err, errTimeout) {
			status, err = vm.TimedOut, fmt.Errorf("killed after %s: %w", *timeout, err)
		}
		fmt.Fprintln(os.Stderr, "vm:", err)
	}
	os.Exit(status)
}

var errTimeout = errors.New("the command has not ended in time")

func run(ctx context.Context, tap int, args []string) (int, error) {
	if len(args) == 0 {
		return 0, errors.New("no command; usage: vm [-timeout 20m] [-tap FD] COMMAND...")
	}
	kernel, err := vm.OpenKernel(os.Getenv("FAIRLEAD_VM_KERNEL"))
	if err != nil {
		return 0, err
	}
	folder, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	accelerator, err := vm.FindAccelerator(ctx, kernel)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(os.Stderr, "vm: Linux %s in QEMU (%s)\n", kernel.Release(), accelerator)
	command := vm.Command{
		Args: args, Env: append([]string{accelerator.Slowness()}, os.Environ()...), Dir: folder, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	if tap > 0 {
		command.Tap = os.NewFile(uintptr(tap), "tap")
	}
	return vm.Run(ctx, kernel, accelerator, command)
}
