// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	return nil
}

func loadModules() error {
	files, err := filepath.Glob("/" + modulesFolder + "/*") // sorted
	if err != nil {
		return fmt.Errorf("modules: %w", err)
	}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("modules: %w", err)
		}
		err = unix.FinitModule(int(file.Fd()), "", 0)
		file.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	return nil
}

// mountRoot makes the host's file system the root of this process and of the
// kernel's helpers. What is written goes to memory, above it.
func mountRoot() error {
	const below, above, root = "/host", "/memory", "/root"
	for _, folder := range []string{below, above, root} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("root: %w", err)
		}
	}
	if err := errors.Join(
		mount(shareTag, below, "virtiofs", unix.MS_RDONLY, ""),
		mount("memory", above, "tmpfs", 0, "mode=755"),
		os.Mkdir(above+"/files", 0o755),
		os.Mkdir(above+"/work", 0o755),
	); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/files,workdir=%s/work", below, above, above)
	if err := mount("root", root, "overlay", 0, options); err != nil {
		return err
	}
	// As switch_root(8) does: the initial root cannot be unmounted or pivoted.
	if err := os.Chdir(root); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if err := mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := errors.Join(unix.Chroot("."), os.Chdir("/")); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	return nil
}

// mountAll mounts the file systems of a machine other than the root.
func mountAll() error {
	for _, m := range []struct{ kind, target, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", "mode=755"},
		{"devpts", "/dev/pts", "mode=620,ptmxmode=666"},
		{"tmpfs", "/dev/shm", "mode=1777"},
		{"tmpfs", "/run", "mode=755"},
		{"cgroup2", "/sys/fs/cgroup", ""},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		if err := mount(m.kind, m.target, m.kind, 0, m.options); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, name); err != nil {
			return fmt.Errorf("devices: %w", err)
		}
	}
	return nil
}

// loopbackUp does what every test takes for granted.
func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return nil
}
