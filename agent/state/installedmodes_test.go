// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestInstalledModes notes modes, also on a disk that has no room, and reads them again.
func TestInstalledModes(t *testing.T) {
	const a, b = v1alpha1.ModeNFTables, v1alpha1.ModeIPVS
	type modes = []v1alpha1.ProxyMode
	for name, c := range map[string]struct {
		do     func(*InstalledModes) error
		active v1alpha1.ProxyMode
		others modes // but for a
	}{
		"none":                    {func(*InstalledModes) error { return nil }, "", nil},
		"begun":                   {func(f *InstalledModes) error { return f.Add(a) }, a, nil},
		"begun twice":             {func(f *InstalledModes) error { return first(f.Add(a), f.Add(a)) }, a, nil},
		"another one begun":       {func(f *InstalledModes) error { return first(f.Activate(a), f.Add(b)) }, a, modes{b}},
		"another one active":      {func(f *InstalledModes) error { return first(f.Activate(a), f.Add(b), f.Activate(b)) }, b, modes{b}},
		"the first one cleaned":   {func(f *InstalledModes) error { return first(f.Activate(a), f.Activate(b), f.Remove(a)) }, b, modes{b}},
		"active again":            {func(f *InstalledModes) error { return first(f.Activate(a), f.Activate(b), f.Activate(a)) }, a, modes{b}},
		"all cleaned":             {func(f *InstalledModes) error { return first(f.Activate(a), f.Remove(a)) }, "", nil},
		"one removed that is not": {func(f *InstalledModes) error { return first(f.Activate(a), f.Remove(b)) }, a, nil},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(what string, f *InstalledModes) {
				t.Helper()
				if diff := cmp.Diff(append(modes{c.active}, c.others...), append(modes{f.Active()}, f.Others(a)...)); diff != "" {
					t.Errorf("%s: the active one, and others (-want +got):\n%s", what, diff)
				}
			}
			dir := t.TempDir()
			f, err := OpenInstalledModes(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.do(f); err != nil {
				t.Fatal(err)
			}
			check("noted", f)
			if f, err = OpenInstalledModes(dir); err != nil {
				t.Fatal(err)
			}
			check("read", f)
			full, err := OpenInstalledModes(filepath.Join(dir, "none"))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.do(full) // it says so, and goes on
			check("without a disk", full)
			if err := os.Mkdir(filepath.Join(dir, "none"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := full.Retry(); err != nil {
				t.Fatal(err)
			}
			if full, err = OpenInstalledModes(filepath.Join(dir, "none")); err != nil {
				t.Fatal(err)
			}
			check("tried again", full)
		})
	}
	f, err := OpenInstalledModes(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	for i, note := range []func() error{func() error { return f.Add(a) }, func() error { return f.Add(a) }, func() error { return f.Activate(a) }, f.Retry} {
		if err := note(); err == nil {
			t.Errorf("call %d: what cannot be written is no error", i)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, installedModesFile), []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := OpenInstalledModes(dir); err == nil || f.Active() != "" {
		t.Errorf("a damaged file: %v, %v", f.modes, err)
	}
}

// TestInstalledModesStay checks that a write that fails leaves the file as it was.
func TestInstalledModesStay(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenInstalledModes(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Activate(v1alpha1.ModeNFTables); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, installedModesFile+".new"), 0o700); err != nil { // it is written first
		t.Fatal(err)
	}
	if err := f.Add(v1alpha1.ModeIPVS); err == nil {
		t.Error("no error")
	}
	if f, err = OpenInstalledModes(dir); err != nil || f.Active() != v1alpha1.ModeNFTables || len(f.Others(f.Active())) > 0 {
		t.Errorf("%v, %v, want the mode before", f.modes, err)
	}
}

// TestInstalledModesWithoutDisk checks that each change that is not kept is an error.
func TestInstalledModesWithoutDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, installedModesFile), 0o700); err != nil { // a file cannot take its place
		t.Fatal(err)
	}
	f, err := OpenInstalledModes(dir)
	if err == nil {
		t.Error("a folder is read")
	}
	for name, err := range map[string]error{
		"added":     f.Add(v1alpha1.ModeIPVS),
		"activated": f.Activate(v1alpha1.ModeNFTables),
		"removed":   f.Remove(v1alpha1.ModeIPVS),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
