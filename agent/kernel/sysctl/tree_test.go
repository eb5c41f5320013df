// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sysctl_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
)

const name = "net/ipv4/ip_forward"

func TestTree(t *testing.T) {
	tree := sysctl.Tree{Root: t.TempDir()}
	path := filepath.Join(tree.Root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := tree.Set(name, "1"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("set a parameter that the kernel does not have: %v", err)
	}
	if err := os.WriteFile(path, []byte("0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := tree.Get(name); err != nil || got != "0" {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := tree.Set(name, "1"); err != nil {
		t.Fatal(err)
	}
	if got, err := tree.Get(name); err != nil || got != "1" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestDefaultRoot(t *testing.T) {
	if got, err := (sysctl.Tree{}).Get("kernel/ostype"); err != nil || got != "Linux" {
		t.Fatalf("got %q, %v", got, err)
	}
}

// A value that the kernel refuses is an error, and a shorter value replaces a longer one.
func TestSet(t *testing.T) {
	s := netnstest.NewSpace(t)
	if err := s.Set(name, "many"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a value that the kernel refuses: %v", err)
	}
	tree := sysctl.Tree{Root: t.TempDir()}
	if err := os.WriteFile(filepath.Join(tree.Root, "range"), []byte("32768 60999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tree.Set("range", "1 2"); err != nil {
		t.Fatal(err)
	}
	if got, err := tree.Get("range"); err != nil || got != "1 2" {
		t.Errorf("got %q, %v", got, err)
	}
}
