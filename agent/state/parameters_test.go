// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
)

func TestParameters(t *testing.T) {
	type step func(t *testing.T, p *Parameters, tree sysctl.Tree)
	set := func(value string) step {
		return func(t *testing.T, p *Parameters, _ sysctl.Tree) {
			if err := p.Set("timeout", value); err != nil {
				t.Error(err)
			}
		}
	}
	another := func(value string) step { // another program, or a boot
		return func(t *testing.T, _ *Parameters, tree sysctl.Tree) {
			if err := tree.Set("timeout", value); err != nil {
				t.Error(err)
			}
		}
	}
	restore := func(t *testing.T, p *Parameters, _ sysctl.Tree) {
		if err := p.Restore(); err != nil {
			t.Error(err)
		}
	}
	gone := func(t *testing.T, _ *Parameters, tree sysctl.Tree) {
		if err := os.Remove(filepath.Join(tree.Root, "timeout")); err != nil {
			t.Error(err)
		}
	}
	for name, tc := range map[string]struct {
		steps []step
		want  string
	}{
		"nothing is set":                {[]step{restore}, "60"},
		"set":                           {[]step{set("3600")}, "3600"},
		"set back":                      {[]step{set("3600"), restore}, "60"},
		"set twice":                     {[]step{set("3600"), set("7200"), restore}, "60"},
		"changed by another program":    {[]step{set("3600"), another("10"), restore}, "10"},
		"changed by another, set again": {[]step{set("3600"), another("10"), set("3600"), restore}, "10"},
		"set back once":                 {[]step{set("3600"), restore, another("3600"), restore}, "3600"},
		"its module is unloaded":        {[]step{set("3600"), gone, restore}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir, tree := t.TempDir(), sysctl.Tree{Root: t.TempDir()}
			if err := os.WriteFile(filepath.Join(tree.Root, "timeout"), []byte("60\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, do := range tc.steps {
				p, err := OpenParameters(dir, tree) // a new agent each time
				if err != nil {
					t.Fatal(err)
				}
				do(t, p, tree)
			}
			got, _ := tree.Get("timeout")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDamagedParameters(t *testing.T) {
	dir, tree := t.TempDir(), sysctl.Tree{Root: t.TempDir()}
	for path, text := range map[string]string{filepath.Join(dir, parametersFile): "{", filepath.Join(tree.Root, "timeout"): "60\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := OpenParameters(dir, tree)
	if err == nil {
		t.Error("a damaged file is no error")
	}
	if err := p.Set("timeout", "3600"); err != nil {
		t.Error(err)
	}
	if p, err = OpenParameters(dir, tree); err != nil {
		t.Fatal(err)
	}
	if err := p.Restore(); err != nil {
		t.Error(err)
	}
	if got, _ := tree.Get("timeout"); got != "60" {
		t.Errorf("set back to %s, want 60", got)
	}
}

// TestParametersWithoutDisk checks that a parameter is set although its old value cannot be
// noted, and that this is an error.
func TestParametersWithoutDisk(t *testing.T) {
	tree := sysctl.Tree{Root: t.TempDir()}
	if err := os.WriteFile(filepath.Join(tree.Root, "timeout"), []byte("60\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := OpenParameters(filepath.Join(t.TempDir(), "none"), tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Set("timeout", "3600"); err == nil {
		t.Error("no error")
	}
	if got, _ := tree.Get("timeout"); got != "3600" {
		t.Errorf("the parameter is %s", got)
	}
}

// TestRestoreFails checks that what cannot be set back is noted until it can, by a later agent.
func TestRestoreFails(t *testing.T) {
	dir, tree := t.TempDir(), sysctl.Tree{Root: t.TempDir()}
	write := func(name, value string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(tree.Root, name), []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := func() *Parameters {
		t.Helper()
		p, err := OpenParameters(dir, tree)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	write("one", "1")
	write("two", "2")
	p := open()
	if err := errors.Join(p.Set("one", "10"), p.Set("two", "20")); err != nil {
		t.Fatal(err)
	}
	// It cannot be read now.
	one := filepath.Join(tree.Root, "one")
	if err := errors.Join(os.Remove(one), os.Mkdir(one, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := open().Restore(); err == nil || !strings.Contains(err.Error(), one) {
		t.Errorf("error %v, want one of %s", err, one)
	}
	if got, _ := tree.Get("two"); got != "2" {
		t.Errorf("the other is %s", got)
	}
	if err := os.Remove(one); err != nil {
		t.Fatal(err)
	}
	write("one", "10")
	write("two", "20") // by another program, after it was set back
	if err := open().Restore(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"one": "1", "two": "20"} {
		if got, _ := tree.Get(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// TestParametersNotedFirst checks that the old value is on the disk before the parameter is set: an agent
// that is killed between the two must be able to set it back.
func TestParametersNotedFirst(t *testing.T) {
	dir, tree := t.TempDir(), sysctl.Tree{Root: t.TempDir()}
	if err := os.WriteFile(filepath.Join(tree.Root, "timeout"), []byte("60\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	names := map[int32]string{}
	for path, mask := range map[string]uint32{dir: unix.IN_MOVED_TO, filepath.Join(tree.Root, "timeout"): unix.IN_MODIFY} {
		wd, err := unix.InotifyAddWatch(watch, path, mask)
		if err != nil {
			t.Fatal(err)
		}
		names[int32(wd)] = filepath.Base(path)
	}
	p, err := OpenParameters(dir, tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Set("timeout", "3600"); err != nil {
		t.Fatal(err)
	}
	events := make([]byte, 4096)
	n, err := unix.Read(watch, events)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for b := events[:n]; len(b) >= unix.SizeofInotifyEvent; b = b[unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])):] {
		if name := names[int32(binary.NativeEndian.Uint32(b))]; len(got) == 0 || got[len(got)-1] != name {
			got = append(got, name)
		}
	}
	if diff := cmp.Diff([]string{filepath.Base(dir), "timeout"}, got); diff != "" {
		t.Errorf("files that change (-want +got):\n%s", diff)
	}
}
