// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

var (
	commonDevices     = []string{"null", "zero", "full", "random", "urandom", "tty"}
	privilegedDevices = []string{"kmsg", "net/tun", "fuse"}

	deviceLinks = map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/ptmx": "pts/ptmx", "/dev/stdin": "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	}
)

// mountKernelFiles mounts the container's own /proc, /sys and /dev. As in a real
// cluster, only a privileged container may write /proc/sys and /sys: the kernel's
// settings of the Pod's network namespace among them.
func mountKernelFiles(privileged bool) error {
	const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := mount("proc", "/proc", "proc", safe, ""); err != nil {
		return err
	}
	// sysfs shows the network namespace of the process that mounts it.
	if err := mount("sysfs", "/sys", "sysfs", safe, ""); err != nil {
		return err
	}
	if !privileged {
		if err := mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""); err != nil {
			return err
		}
		for _, dir := range []string{"/proc/sys", "/sys"} {
			if err := setReadOnly(dir); err != nil {
				return err
			}
		}
	}
	return mountDevices(privileged)
}

func mountDevices(privileged bool) error {
	if err := mount("tmpfs", "/dev", "tmpfs", unix.MS_NOSUID|unix.MS_STRICTATIME, "mode=755,size=64k"); err != nil {
		return err
	}
	for _, dir := range []string{"/dev/pts", "/dev/shm"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make the devices: %w", err)
		}
	}
	const ptsOptions = "newinstance,ptmxmode=0666,mode=0620,gid=5"
	if err := mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, ptsOptions); err != nil {
		return err
	}
	if err := mountTmpfs("/dev/shm", "mode=1777,size=64m"); err != nil {
		return err
	}
	for link, to := range deviceLinks {
		if err := os.Symlink(to, link); err != nil {
			return fmt.Errorf("make the devices: %w", err)
		}
	}
	devices := commonDevices
	if privileged {
		devices = append(devices[:len(devices):len(devices)], privilegedDevices...)
	}
	for _, device := range devices {
		if err := bindDevice(device); err != nil {
			return err
		}
	}
	return nil
}

// bindDevice bind-mounts a device of the host; one that does not exist is skipped.
func bindDevice(name string) error {
	device := path.Join("/dev", name)
	if _, err := os.Stat(path.Join(hostRoot, device)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return bind(Mount{Source: device, Target: device})
}
