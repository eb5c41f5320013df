// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hostRoot is where the host's files are inside the new root while it is built.
const hostRoot = "/.host"

// scratchDirs hide the host's own temporary files behind empty directories.
var scratchDirs = map[string]string{"/tmp": "mode=1777", "/var/tmp": "mode=1777", "/run": "mode=755"}

// enterRoot builds the container's root directory and makes it the process's.
//
// The root is an overlay: the host's root file system below, an empty tmpfs
// above that takes the writes. What other file systems the host has mounted are
// empty directories in it, hence the own /proc, /sys and /dev.
func enterRoot(spec *Spec) error {
	if err := privateRoot(spec.Root); err != nil {
		return err
	}
	mounts, err := resolveSources(spec.Mounts)
	if err != nil {
		return err
	}
	if err := pivot(spec.Root); err != nil {
		return err
	}
	if err := mountKernelFiles(spec.Privileged); err != nil {
		return err
	}
	if err := hide(spec.Hidden); err != nil {
		return err
	}
	// /a before /a/b, or the former would hide the latter.
	slices.SortStableFunc(mounts, func(a, b Mount) int { return cmp.Compare(len(a.Target), len(b.Target)) })
	for _, m := range mounts {
		if err := bind(m); err != nil {
			return err
		}
	}
	if spec.Dir != "" {
		if err := os.MkdirAll(spec.Dir, 0o755); err != nil {
			return fmt.Errorf("make the working directory: %w", err)
		}
	}
	if err := leaveHost(); err != nil {
		return err
	}
	if spec.ReadOnlyRoot {
		if err := sealRoot(mounts); err != nil {
			return err
		}
	}
	if err := os.Chdir(cmp.Or(spec.Dir, "/")); err != nil {
		return fmt.Errorf("enter the working directory: %w", err)
	}
	return nil
}

// pivot mounts the overlay on dir and makes it the root.
func pivot(dir string) error {
	if err := mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	root, upper, work := filepath.Join(dir, "root"), filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, made := range []string{root, upper, work} {
		if err := os.Mkdir(made, 0o755); err != nil {
			return fmt.Errorf("make the container's root: %w", err)
		}
	}
	options := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", upper, work)
	if err := mount("overlay", root, "overlay", 0, options); err != nil {
		return err
	}
	old := filepath.Join(root, hostRoot)
	if err := os.MkdirAll(old, 0o700); err != nil {
		return fmt.Errorf("make the place of the old root: %w", err)
	}
	if err := unix.PivotRoot(root, old); err != nil {
		return fmt.Errorf("change the root to %s: %w", root, err)
	}
	return os.Chdir("/")
}

// leaveHost lets go of the host's mounts. Nothing of them may stay: they would
// keep other Pods' network namespaces alive.
func leaveHost() error {
	if err := unix.Unmount(hostRoot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root: %w", err)
	}
	if err := os.Remove(hostRoot); err != nil {
		return fmt.Errorf("remove the place of the old root: %w", err)
	}
	return nil
}

// resolveSources follows the symbolic links of the sources while the host's
// root is still the root: absolute links would lead elsewhere afterwards.
func resolveSources(mounts []Mount) ([]Mount, error) {
	resolved := slices.Clone(mounts)
	for i, m := range resolved {
		source, err := filepath.EvalSymlinks(m.Source)
		if err != nil {
			return nil, fmt.Errorf("mount at %s: %w", m.Target, err)
		}
		resolved[i].Source = source
	}
	return resolved, nil
}

// bind mounts the host's file or directory, making the place for it. It runs
// inside the new root, so links on the way, such as /var/run, are the
// container's own.
func bind(m Mount) error {
	source, target := path.Join(hostRoot, m.Source), path.Clean("/"+m.Target)
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("mount at %s: %w", target, err)
	}
	if err := makeTarget(target, info.IsDir()); err != nil {
		return fmt.Errorf("make the mount point %s: %w", target, err)
	}
	if err := mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if !m.ReadOnly {
		return nil
	}
	return setReadOnly(target)
}

func makeTarget(target string, isDir bool) error {
	if isDir {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(path.Dir(target), 0o755); err != nil {
		return err
	}
	info, err := os.Lstat(target)
	switch {
	case err == nil && info.Mode()&fs.ModeSymlink == 0:
		return nil
	case err == nil:
		// A host's /etc/resolv.conf is often a link to a file that is not here.
		if err := os.Remove(target); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return os.WriteFile(target, nil, 0o644)
}

func hide(dirs []string) error {
	for dir, options := range scratchDirs {
		if err := mountTmpfs(dir, options); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := mountTmpfs(dir, "mode=000,size=4k"); err != nil {
			return err
		}
	}
	return nil
}

// sealRoot makes the root and the scratch directories read-only, except those
// that a volume covers.
func sealRoot(mounts []Mount) error {
	sealed := []string{"/"}
	for dir := range scratchDirs {
		covered := slices.ContainsFunc(mounts, func(m Mount) bool { return path.Clean(m.Target) == dir })
		if !covered {
			sealed = append(sealed, dir)
		}
	}
	for _, dir := range sealed {
		if err := setReadOnly(dir); err != nil {
			return err
		}
	}
	return nil
}

func mountTmpfs(dir, options string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	return mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)
}

// setReadOnly makes one mount read-only and leaves its other flags alone.
func setReadOnly(dir string) error {
	attributes := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, dir, 0, attributes); err != nil {
		return fmt.Errorf("make %s read-only: %w", dir, err)
	}
	return nil
}

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s at %s: %w", cmp.Or(kind, source, "the root"), strings.TrimPrefix(target, hostRoot), err)
	}
	return nil
}
