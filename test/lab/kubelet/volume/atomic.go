// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// dataLink points to the directory with the current files. Replacing the link is
// what makes a change of many files one change, as in a real cluster; programs
// that watch their configuration look for it.
const dataLink = "..data"

// writeAtomically makes dir hold exactly the files.
func writeAtomically(dir string, files map[string]file) error {
	for name := range files {
		if !filepath.IsLocal(name) || strings.HasPrefix(name, "..") {
			return fmt.Errorf("file name %q leads out of the volume", name)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && holds(filepath.Join(dir, old), files) {
		return nil
	}
	current, err := writeVersion(dir, files)
	if err != nil {
		return err
	}
	next := filepath.Join(dir, "..next")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // left by a failure
	}
	if err := os.Symlink(current, next); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	if err := linkNames(dir, files); err != nil {
		return err
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old))
}

// writeVersion writes the files to a new directory and returns its name.
func writeVersion(dir string, files map[string]file) (string, error) {
	version, err := os.MkdirTemp(dir, "..version-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(version, 0o755); err != nil {
		return "", err
	}
	for name, f := range files {
		path := filepath.Join(version, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, f.data, f.mode); err != nil {
			return "", err
		}
		if err := os.Chown(path, f.uid, f.gid); err != nil {
			return "", err
		}
		// WriteFile's mode passes the umask, and chown clears bits.
		if err := os.Chmod(path, f.mode); err != nil {
			return "", err
		}
	}
	return filepath.Base(version), nil
}

// linkNames makes the names that users see: links through the data link. Those
// of files that are gone go too.
func linkNames(dir string, files map[string]file) error {
	wanted := map[string]bool{}
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		wanted[top] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if name := entry.Name(); !strings.HasPrefix(name, "..") && !wanted[name] {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// holds reports whether version has exactly the files.
func holds(version string, files map[string]file) bool {
	count := 0
	err := filepath.WalkDir(version, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		count++
		name, err := filepath.Rel(version, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if wanted, ok := files[name]; err != nil || !ok || !bytes.Equal(data, wanted.data) {
			return fs.ErrNotExist
		}
		return nil
	})
	return err == nil && count == len(files)
}
