// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTar(t *testing.T) {
	tree := Tree{
		"usr/sbin/program": {Mode: 0o755, Data: []byte("program")},
		"usr/sbin/alias":   {Link: "program"},
		"a":                {Mode: 0o600, Data: []byte("a")},
		"usr.txt":          {Mode: 0o644},
		"tmp":              {Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		"usr/sbin":         {Mode: fs.ModeDir | 0o700},
	}
	at := time.Unix(1_700_000_000, 5)
	var first, second bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := tree.Tar(b, at.In(time.FixedZone("", 3600*(b.Cap()+1)))); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of the same files differ")
	}
	type entry struct {
		Name, Link, Data string
		Mode             int64
		Type             byte
		Time             int64
	}
	var got []entry
	for r := tar.NewReader(&first); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, entry{h.Name, h.Linkname, string(data), h.Mode, h.Typeflag, h.ModTime.UnixNano()})
	}
	const seconds = 1_700_000_000_000_000_000
	want := []entry{
		{"a", "", "a", 0o600, tar.TypeReg, seconds},
		{"tmp/", "", "", 0o1777, tar.TypeDir, seconds},
		{"usr/", "", "", 0o755, tar.TypeDir, seconds},
		{"usr.txt", "", "", 0o644, tar.TypeReg, seconds},
		{"usr/sbin/", "", "", 0o700, tar.TypeDir, seconds},
		{"usr/sbin/alias", "program", "", 0o777, tar.TypeSymlink, seconds},
		{"usr/sbin/program", "", "program", 0o755, tar.TypeReg, seconds},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	tree := Tree{}
	tree.Add("/usr", Tree{"sbin/program": {Mode: 0o755, Data: []byte("x")}, "sbin/alias": {Link: "program"}})
	tree.Add("", Tree{"tmp": {Mode: fs.ModeDir | fs.ModeSticky | 0o777}})
	if err := tree.Write(dir); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "usr/sbin/alias"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the link leads to %v, %v", info, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "tmp")); err != nil || info.Mode() != tree["tmp"].Mode {
		t.Errorf("the directory is %v, %v", info, err)
	}
}

func TestInvalid(t *testing.T) {
	for name, tree := range map[string]Tree{
		"leaves the tree":      {"../etc/passwd": {}},
		"absolute":             {"/etc/passwd": {}},
		"not clean":            {"etc//passwd": {}},
		"a file and directory": {"etc": {}, "etc/passwd": {}},
	} {
		dir := t.TempDir()
		if err := tree.Tar(io.Discard, time.Time{}); err == nil {
			t.Errorf("%s: is archived", name)
		}
		if err := tree.Write(filepath.Join(dir, "root")); err == nil {
			t.Errorf("%s: is written", name)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: %v is left", name, left)
		}
	}
}
