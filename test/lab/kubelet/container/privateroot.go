// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// privateRoot keeps the mounts that follow from a host that shares its own.
func privateRoot(dir string) error {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if errors.Is(err, unix.EINVAL) {
		return leaveChroot(dir)
	}
	if err != nil {
		return fmt.Errorf("make the host's mounts private: %w", err)
	}
	return nil
}

// leaveChroot makes the root directory that a host has after a plain chroot the
// root mount of this namespace, by way of dir. Before that it is no mount point,
// so that nothing about its mounts can be changed.
func leaveChroot(dir string) error {
	root, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("leave the chroot: %w", err)
	}
	defer unix.Close(root)
	space, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		return fmt.Errorf("leave the chroot: %w", err)
	}
	defer space.Close()
	// Who joins a mount namespace starts at its real root, even in the one where he
	// is. The kernel refuses that to threads that share a root directory.
	if err := errors.Join(unix.Unshare(unix.CLONE_FS), unix.Setns(int(space.Fd()), unix.CLONE_NEWNS)); err != nil {
		return fmt.Errorf("leave the chroot: %w", err)
	}
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Fchdir(root); err != nil {
		return fmt.Errorf("return to the chroot: %w", err)
	}
	dir = strings.TrimPrefix(dir, "/")
	if err := mount(".", dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("return to the chroot: %w", err)
	}
	// The old root ends on top of the new one, and is gone with the unmount.
	if err := errors.Join(unix.PivotRoot(".", "."), unix.Unmount(".", unix.MNT_DETACH)); err != nil {
		return fmt.Errorf("make the chroot the root: %w", err)
	}
	return unix.Chdir("/")
}
