// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unpacked makes a folder that looks like an unpacked kernel.
func unpacked(t *testing.T) Kernel {
	t.Helper()
	folder := t.TempDir()
	for name, content := range map[string]string{
		"boot/vmlinuz-1.2-x": "",
		"lib/modules/1.2-x/modules.dep": `kernel/fs/overlay.ko:
kernel/fs/virtiofs.ko: kernel/fs/fuse.ko kernel/virtio_ring.ko kernel/virtio.ko
kernel/fs/fuse.ko.xz:
kernel/virtio-pci.ko: kernel/virtio_ring.ko kernel/virtio.ko
`,
	} {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k, err := OpenKernel(folder)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestModuleFiles(t *testing.T) {
	k := unpacked(t)
	if k.Release() != "1.2-x" {
		t.Errorf("release %s", k.Release())
	}
	got, err := k.moduleFiles([]string{"virtio_pci", "virtiofs"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"kernel/virtio.ko", "kernel/virtio_ring.ko", "kernel/virtio-pci.ko", "kernel/fs/fuse.ko", "kernel/fs/virtiofs.ko"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := k.moduleFiles([]string{"nosuch"}); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("unknown module: %v", err)
	}
	if _, err := OpenKernel(t.TempDir()); err == nil {
		t.Error("a folder without a kernel is one")
	}
}

// TestArchive has the archive read by another program.
func TestArchive(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("no cpio here; that the kernel reads it is seen by TestCommand")
	}
	var a archive
	a.add("init", 0o100755, []byte("#!"))
	a.add("folder", 0o040755, nil)
	a.add("folder/file", 0o100644, []byte("content\n"))
	content := a.close()
	list := exec.Command("cpio", "--extract", "--quiet", "--to-stdout", "folder/file")
	list.Stdin = bytes.NewReader(content)
	out, err := list.CombinedOutput()
	if err != nil || string(out) != "content\n" {
		t.Errorf("cpio: %v: %q", err, out)
	}
}

func TestTail(t *testing.T) {
	var text tail
	for i := range 100_000 {
		fmt.Fprintf(&text, "line %d\r\n", i)
	}
	got := strings.Split(text.String(), "\n")
	if len(got) != tailLines || got[0] != "line 99950" || got[tailLines-1] != "line 99999" {
		t.Errorf("%d lines from %q to %q", len(got), got[0], got[len(got)-1])
	}
	if n := len(text.text); n > 2*tailBytes {
		t.Errorf("keeps %d bytes", n)
	}
}

func TestClock(t *testing.T) {
	for info, want := range map[string]string{
		"processor\t: 0\ncpu MHz\t\t: 2596.144\nbogomips\t: 5192.28\n\nprocessor\t: 1\nbogomips\t: 5000.00\n": " tsc_early_khz=2596140",
		"processor\t: 0\nbogomips\t: many\n": "",
		"":                                   "",
	} {
		if diff := cmp.Diff(want, clockOf(info)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", info, diff)
		}
	}
}
