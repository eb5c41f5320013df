// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// overlaid are the folders whose changes are the node's own.
var overlaid = []string{"/etc", "/opt", "/var"}

// machineSysctls are what kubelet sets for the whole machine: the node has its own, without effect.
var machineSysctls = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// mountAll turns the machine's mounts, in this mount namespace, into the node's.
func mountAll(config Config) error {
	// Nothing comes from the machine or goes there; but what kubelet mounts has to reach the containers.
	if err := propagate(unix.MS_PRIVATE); err != nil {
		return err
	}
	if err := detachBelow("/run"); err != nil {
		return err
	}
	if err := propagate(unix.MS_SHARED); err != nil {
		return err
	}
	if err := mountCgroups(); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := mountTmpfs("/run"); err != nil {
		return err
	}
	for _, dir := range overlaid {
		if err := overlay(dir, dir); err != nil {
			return err
		}
	}
	// In memory, and not on the overlay, on which there can be no further ones.
	for _, dir := range []string{"/var/lib/containerd", "/var/lib/kubelet"} {
		if err := mountTmpfs(dir); err != nil {
			return err
		}
	}
	// A DaemonSet may add plugins.
	if err := overlay(config.ProgramsDir, pluginDir); err != nil {
		return err
	}
	return ownSysctls()
}

func propagate(how uintptr) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|how, ""); err != nil {
		return fmt.Errorf("propagation of mounts: %w", err)
	}
	return nil
}

func mountTmpfs(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	return nil
}

// overlay shows the content of a folder at another path, or at its own, and keeps changes in /run.
func overlay(lower, target string) error {
	place := filepath.Join("/run/overlay", strings.ReplaceAll(target, "/", "-"))
	upper, work := filepath.Join(place, "upper"), filepath.Join(place, "work")
	for _, dir := range []string{upper, work, target} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	if err := unix.Mount("overlay", target, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	return nil
}

// detachBelow lets go of the machine's mounts below a folder: named network namespaces would live
// on as long as the node.
func detachBelow(dir string) error {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	var targets []string
	for line := range strings.Lines(string(info)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			targets = append(targets, fields[4])
		}
	}
	for _, target := range slices.Backward(targets) {
		// EINVAL: it went with another one.
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", target, err)
		}
	}
	return nil
}

func ownSysctls() error {
	for _, name := range machineSysctls {
		path := filepath.Join("/proc/sys", name)
		value, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without it
		}
		own := filepath.Join("/run/sysctl", name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(own), 0o755)
		}
		if err == nil {
			err = os.WriteFile(own, value, 0o644)
		}
		if err == nil {
			err = unix.Mount(own, path, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("sysctl %s: %w", name, err)
		}
	}
	return nil
}
