// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// bootModules are what the guest needs to reach the host; the kernel loads the
// rest from the host's file system on demand.
var bootModules = []string{"virtio_pci", "virtio_console", "virtiofs", "overlay"}

// Kernel is a Debian kernel package that was unpacked into a folder.
type Kernel struct {
	folder, release string
}

// OpenKernel finds the kernel in a folder, as hack/vm-kernel.sh makes it.
func OpenKernel(folder string) (Kernel, error) {
	found, err := filepath.Glob(filepath.Join(folder, "boot", "vmlinuz-*"))
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel: %w", err)
	}
	if len(found) != 1 {
		return Kernel{}, fmt.Errorf("kernel: %d kernels in %q, want one: hack/vm-kernel.sh prints the folder", len(found), folder)
	}
	folder, err = filepath.Abs(folder)
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel: %w", err)
	}
	_, release, _ := strings.Cut(filepath.Base(found[0]), "-")
	return Kernel{folder: folder, release: release}, nil
}

// Release is what `uname -r` says inside.
func (k Kernel) Release() string { return k.release }

func (k Kernel) image() string   { return filepath.Join(k.folder, "boot", "vmlinuz-"+k.release) }
func (k Kernel) modules() string { return filepath.Join(k.folder, "lib", "modules", k.release) }

// moduleFiles returns the files of modules, relative to the folder of all modules,
// each after those that it depends on.
func (k Kernel) moduleFiles(names []string) ([]string, error) {
	file, err := os.Open(filepath.Join(k.modules(), "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	defer file.Close()
	lines := map[string][]string{} // by name: the file, and all that it depends on, the deepest last
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		path, needs, _ := strings.Cut(scanner.Text(), ":")
		lines[moduleName(path)] = append([]string{path}, strings.Fields(needs)...)
	}
	var files []string
	for _, name := range names {
		if lines[name] == nil {
			return nil, fmt.Errorf("kernel modules: %s has no module %s", k.release, name)
		}
		for _, path := range slices.Backward(lines[name]) {
			if !slices.Contains(files, path) {
				files = append(files, path)
			}
		}
	}
	return files, nil
}

// moduleName is the name that modprobe knows a file by.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	return strings.ReplaceAll(name, "-", "_")
}
