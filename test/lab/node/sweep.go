// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// tree lists a cgroup and all below it, the deepest first.
func tree(dir string) []string {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil // one that is gone is no error
	})
	slices.Reverse(dirs)
	return dirs
}

// Sweep kills what runs in cgroups whose names start with the prefix, and removes them.
func Sweep(ctx context.Context, prefix string) error {
	for {
		err := sweepOnce(prefix)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-tick():
		}
	}
}

func sweepOnce(prefix string) error {
	var errs []error
	for _, hierarchy := range hierarchies() {
		groups, err := filepath.Glob(filepath.Join(hierarchy, prefix+"*"))
		if err != nil {
			return err
		}
		for _, group := range groups {
			for _, dir := range tree(group) {
				errs = append(errs, removeCgroup(dir))
			}
		}
	}
	return errors.Join(errs...)
}

func removeCgroup(dir string) error {
	pids, err := processes(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("cgroup: %w", err)
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	return nil
}
