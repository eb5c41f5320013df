// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// modulesFolder holds the modules for booting in the initramfs. Their names begin
// with the number at which they are loaded.
const modulesFolder = "modules"

// initramfs makes the file system that the kernel starts with: this program as
// /init, and the modules that it needs to reach the host's file system.
func initramfs(k Kernel) ([]byte, error) {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	files, err := k.moduleFiles(bootModules)
	if err != nil {
		return nil, err
	}
	var a archive
	a.add("init", 0o100755, program)
	a.add(modulesFolder, 0o040755, nil)
	for i, file := range files {
		module, err := os.ReadFile(filepath.Join(k.modules(), file))
		if err != nil {
			return nil, fmt.Errorf("initramfs: %w", err)
		}
		a.add(fmt.Sprintf("%s/%02d-%s", modulesFolder, i, filepath.Base(file)), 0o100644, module)
	}
	return a.close(), nil
}

// archive is a cpio archive in the "newc" format, which the kernel unpacks: see
// Documentation/driver-api/early-userspace/buffer-format.rst.
type archive struct {
	bytes.Buffer
	inode int
}

// add adds a file or folder; mode has the bits of its type as in stat(2).
func (a *archive) add(name string, mode uint32, content []byte) {
	a.inode++
	const links, nothing = 1, 0
	// magic, inode, mode, uid, gid, links, mtime, size, four device numbers, length of
	// the name with its NUL, checksum
	fmt.Fprintf(a, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", a.inode, mode, nothing, nothing,
		links, nothing, len(content), nothing, nothing, nothing, nothing, len(name)+1, nothing)
	a.WriteString(name + "\x00")
	a.align()
	a.Write(content)
	a.align()
}

func (a *archive) align() {
	for a.Len()%4 != 0 {
		a.WriteByte(0)
	}
}

func (a *archive) close() []byte {
	a.add("TRAILER!!!", 0, nil)
	return a.Bytes()
}
