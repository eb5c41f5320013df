// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
)

func TestFullName(t *testing.T) {
	for short, want := range map[string]string{
		"fairlead-agent:v1":                  "docker.io/library/fairlead-agent:v1",
		"fairlead/agent:v1":                  "docker.io/fairlead/agent:v1",
		"localhost/agent:v1":                 "localhost/agent:v1",
		"registry.example/agent:v1":          "registry.example/agent:v1",
		"registry:5000/fairlead/agent:v1":    "registry:5000/fairlead/agent:v1",
		"docker.io/library/fairlead-agent:1": "docker.io/library/fairlead-agent:1",
	} {
		if got := fullName(short); got != want {
			t.Errorf("%s is %s and not %s", short, got, want)
		}
	}
}

func TestRepository(t *testing.T) {
	for reference, want := range map[string]string{
		"registry.example/agent:v1":    "registry.example/agent",
		"registry:5000/fairlead/agent": "registry:5000/fairlead/agent",
		"registry:5000/agent:v1":       "registry:5000/agent",
	} {
		if got := repository(reference); got != want {
			t.Errorf("the repository of %s is %s and not %s", reference, got, want)
		}
	}
}

// A Dockerfile takes the same files.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	if err := files(t.Context(), testSource(checkoutDir()), "bundle", "amd64", dir); err != nil {
		t.Fatal(err)
	}
	got, err := rootfs.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := read(t, "bundle").images["amd64"].files
	if len(got) != len(want) {
		t.Errorf("%d files and not %d", len(got), len(want))
	}
	for name, f := range want {
		if string(got[name].Data) != string(f.Data) {
			t.Errorf("%s differs", name)
		}
	}
}

func TestArguments(t *testing.T) {
	for name, args := range map[string][]string{
		"none":         {},
		"other":        {"pull", "a", "b"},
		"two folders":  {"push", "a", "b"},
		"unknown kind": {"build", t.TempDir(), "toaster=x"},
		"few files":    {"files", "bundle", "amd64"},
	} {
		if err := run(t.Context(), checkoutDir(), "v1", args); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
