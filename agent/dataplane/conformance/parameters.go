// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

const parametersRoot = "/proc/sys/net"

// ofMachine matches parameters that change by themselves, or that belong to the whole
// machine.
var ofMachine = regexp.MustCompile(`^/proc/sys/net/(core/|(netfilter/)?nf_conntrack_(count|max|buckets|expect_max)$)`)

// parameters returns the kernel's parameters of the namespace, a line for each of theirs.
// grep takes half a second for them in an emulator, a third of a dump.
func (n *Node) parameters() (out []string) {
	n.T.Helper()
	buf := make([]byte, 1<<14)
	n.Do(func() error {
		return filepath.WalkDir(parametersRoot, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || ofMachine.MatchString(path) {
				return nil // links come and go
			}
			for _, line := range strings.Split(read(path, buf), "\n") {
				if line = strings.TrimSpace(line); line != "" {
					out = append(out, path+":"+line)
				}
			}
			return nil
		})
	})
	return out
}

// read returns the content of a file; empty: it cannot be read. Package os would try to
// poll each one.
func read(path string, buf []byte) string {
	file, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(file)
	n, err := unix.Read(file, buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// parameter returns the name of a kernel's parameter; empty: the line is of something else.
func parameter(line string) string {
	rest, ok := strings.CutPrefix(line, "parameters: /proc/sys/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, ":")
	return name
}
