// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package debian reads Debian packages that are locked by version and SHA-256.
package debian

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"time"
)

// Package is a locked package.
type Package struct {
	Name, Version string
	Arch          string // of the image: amd64, also for packages of all architectures
	SHA256        string // in hexadecimal
	// Path is where it is below a mirror, beginning with the archive:
	// debian/pool/main/i/iptables/iptables_1.8.9-2_amd64.deb
	Path string
}

// Lock is the content of a lock file.
type Lock struct {
	Suite    string // such as bookworm
	Snapshot time.Time
	Packages []Package
}

// snapshotFormat is how snapshot.debian.org names a time.
const snapshotFormat = "20060102T150405Z"

var sha256Format = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Parse reads a lock file: see Write.
func Parse(r io.Reader) (*Lock, error) {
	lock := &Lock{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		var err error
		switch {
		case len(words) == 2 && words[0] == "suite":
			lock.Suite = words[1]
		case len(words) == 2 && words[0] == "snapshot":
			lock.Snapshot, err = time.Parse(snapshotFormat, words[1])
		case len(words) == 5 && sha256Format.MatchString(words[3]) && fs.ValidPath(words[4]) && strings.Contains(words[4], "/"):
			lock.Packages = append(lock.Packages, Package{words[0], words[1], words[2], words[3], words[4]})
		default:
			err = fmt.Errorf("expect NAME VERSION ARCHITECTURE SHA256 PATH")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d of the lock file: %w", n, err)
		}
	}
	if lines.Err() == nil && (lock.Suite == "" || lock.Snapshot.IsZero()) {
		return nil, fmt.Errorf("the lock file names no suite or no snapshot")
	}
	return lock, lines.Err()
}

// Write writes a lock file, and in its first line of what the packages are.
func (l *Lock) Write(w io.Writer, of string) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "# Debian packages of %s. Written by `make images-lock`.\n", of)
	fmt.Fprintf(out, "suite %s\nsnapshot %s\n", l.Suite, l.Snapshot.UTC().Format(snapshotFormat))
	for _, p := range l.Packages {
		fmt.Fprintln(out, p.Name, p.Version, p.Arch, p.SHA256, p.Path)
	}
	return out.Flush()
}

// For returns the packages of an architecture.
func (l *Lock) For(arch string) []Package {
	var out []Package
	for _, p := range l.Packages {
		if p.Arch == arch {
			out = append(out, p)
		}
	}
	return out
}
