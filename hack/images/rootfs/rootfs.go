// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rootfs describes the files of an image's layer. The same files are the same
// bytes, on any machine.
package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// File is a regular file, a symbolic link if Link is set, or a directory if Mode says so. It
// belongs to root.
type File struct {
	Mode fs.FileMode // permissions; of a directory also the type, and the sticky bit
	Data []byte
	Link string
}

// Tree has files by their path, such as usr/sbin/iptables. Directories are listed if they are
// empty or have other permissions than 0755.
type Tree map[string]File

// directories returns all directories above the files.
func (t Tree) directories() map[string]bool {
	out := map[string]bool{}
	for name := range t {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			out[dir] = true
		}
	}
	return out
}

// valid returns an error if a name leads out of the tree, or a file has the name of a
// directory.
func (t Tree) valid() error {
	for name := range t {
		if !fs.ValidPath(name) || name == "." {
			return fmt.Errorf("%q is no path inside an image", name)
		}
	}
	dirs := t.directories() // of valid paths only: it ends at "."
	for name := range t {
		if dirs[name] && !t[name].Mode.IsDir() {
			return fmt.Errorf("%s is a file and a directory", name)
		}
	}
	return nil
}

// Tar writes a layer: sorted, everything of root and of one time.
func (t Tree) Tar(w io.Writer, at time.Time) error {
	if err := t.valid(); err != nil {
		return err
	}
	dirs := t.directories()
	out := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(merged(t, dirs))) {
		f := t[name]
		header := tar.Header{Name: name, ModTime: at.UTC().Truncate(time.Second), Format: tar.FormatPAX}
		switch {
		case f.Mode.IsDir():
			header.Typeflag, header.Name, header.Mode = tar.TypeDir, name+"/", int64(f.Mode.Perm())
			if f.Mode&fs.ModeSticky != 0 {
				header.Mode |= 0o1000
			}
		case dirs[name]:
			header.Typeflag, header.Name, header.Mode = tar.TypeDir, name+"/", 0o755
		case f.Link != "":
			header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f.Link, 0o777
		default:
			header.Typeflag, header.Size, header.Mode = tar.TypeReg, int64(len(f.Data)), int64(f.Mode.Perm())
		}
		if err := out.WriteHeader(&header); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, err := out.Write(f.Data); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return out.Close()
}

func merged(t Tree, dirs map[string]bool) map[string]bool {
	out := maps.Clone(dirs)
	for name := range t {
		out[name] = true
	}
	return out
}

// Write writes the files into a directory.
func (t Tree) Write(dir string) error {
	if err := t.valid(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		f, file := t[name], filepath.Join(dir, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if err == nil && f.Mode.IsDir() {
			err = errors.Join(os.MkdirAll(file, 0o755), os.Chmod(file, f.Mode&(fs.ModePerm|fs.ModeSticky)))
		} else if err == nil && f.Link != "" {
			err = os.Symlink(f.Link, file)
		} else if err == nil {
			err = os.WriteFile(file, f.Data, f.Mode.Perm())
		}
		if err != nil {
			return fmt.Errorf("write the files of an image: %w", err)
		}
	}
	return nil
}

// Add adds the files of another tree, below a directory.
func (t Tree) Add(dir string, other Tree) {
	for name, f := range other {
		t[strings.TrimPrefix(path.Join(dir, name), "/")] = f
	}
}

// Read returns the files of a directory.
func Read(dir string) (Tree, error) {
	out := Tree{}
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, file)
		out[filepath.ToSlash(name)] = File{Mode: 0o644, Data: data}
		return err
	})
	return out, err
}
