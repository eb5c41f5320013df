// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Accelerator is what runs the guest's instructions.
type Accelerator string

// The accelerators of QEMU that are used.
const (
	KVM Accelerator = "kvm" // the processor
	TCG Accelerator = "tcg" // QEMU itself, about three times slower
)

func (a Accelerator) args() []string {
	if a == KVM {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	return []string{"-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max"}
}

// clock is a parameter of the kernel, or empty. QEMU passes on the host's time stamp counter. A kernel that measures its
// frequency while other processes keep the host busy is wrong, by factors, and so are all its clocks.
func (a Accelerator) clock() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || a == KVM {
		return ""
	}
	return clockOf(string(info))
}

// clockOf finds the frequency in /proc/cpuinfo, where two BogoMIPS are a MHz.
func clockOf(info string) string {
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != "bogomips" {
			continue
		}
		if bogomips, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
			return fmt.Sprintf(" tsc_early_khz=%.0f", bogomips*500)
		}
	}
	return ""
}

// Slowness is an environment variable that asks tests for patience.
func (a Accelerator) Slowness() string {
	if a == KVM {
		return "FAIRLEAD_SLOWNESS=1"
	}
	return "FAIRLEAD_SLOWNESS=4"
}

// bootTime is how long the kernel may take to boot: with TCG 6 s on a machine that
// does nothing else.
func (a Accelerator) bootTime() time.Duration {
	if a == KVM {
		return 15 * time.Second
	}
	return 2 * time.Minute
}

// FindAccelerator returns KVM if it works on this machine. There may be a /dev/kvm
// that does not, for example in a VM: so it is tried once, and remembered beside the
// kernel.
func FindAccelerator(ctx context.Context, k Kernel) (Accelerator, error) {
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return TCG, nil
	}
	device.Close()
	var host unix.Utsname
	if err := unix.Uname(&host); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	known := filepath.Join(k.folder, "accelerator-"+unix.ByteSliceToString(host.Release[:]))
	if text, err := os.ReadFile(known); err == nil {
		return Accelerator(text), nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	defer null.Close()
	found := KVM
	status, _, err := runOnce(ctx, k, KVM, Command{Args: []string{"true"}, Env: os.Environ(), Dir: "/", Stdout: null, Stderr: null})
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil || status != 0:
		found = TCG
	}
	// Whole or not at all: others may be looking.
	temporary := fmt.Sprintf("%s.%d", known, os.Getpid())
	return found, errors.Join(os.WriteFile(temporary, []byte(found), 0o644), os.Rename(temporary, known))
}
