// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDelegate has a cgroup with a process give its controllers to its children, as a node's does.
func TestDelegate(t *testing.T) {
	if !unified() || os.Getuid() != 0 {
		t.Skip("needs root, and a machine with cgroup v2 only: make test-vm")
	}
	if err := delegate(cgroupRoot, "rest"); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cgroupRoot, "fairlead-test-"+strconv.Itoa(os.Getpid()))
	child := filepath.Join(dir, "init")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	process := exec.Command("sleep", "1000")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
		_ = os.Remove(child)
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	pid := strconv.Itoa(process.Process.Pid)
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(pid), 0); err != nil {
		t.Fatal(err)
	}

	if err := delegate(dir, "init"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(words(t, dir, "cgroup.controllers"), words(t, child, "cgroup.controllers")); diff != "" {
		t.Errorf("controllers of the child, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{pid}, words(t, child, "cgroup.procs")); diff != "" {
		t.Errorf("processes of the child, -want +got:\n%s", diff)
	}
	if !slices.Contains(words(t, child, "cgroup.controllers"), "memory") {
		t.Error("the child has no controller memory")
	}
}

func words(t *testing.T, dir, file string) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(content))
}
