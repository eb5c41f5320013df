// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// keyring has the keys of Debian's archives, on a Debian machine.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Refresh returns a lock of the current versions of packages. It uses an apt of its own in
// a temporary folder, so it knows other architectures, and the machine's stays as it is.
func Refresh(ctx context.Context, mirror, suite string, names, archs []string) (*Lock, error) {
	dir, err := os.MkdirTemp("", "fairlead-apt-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	sources := ""
	for _, archive := range []string{"debian " + suite, "debian " + suite + "-updates", "debian-security " + suite + "-security"} {
		sources += fmt.Sprintf("deb [arch=%s signed-by=%s] %s/%s main\n", strings.Join(archs, ","), keyring, mirror, archive)
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	for name, text := range map[string]string{"etc/sources.list": sources, "status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	lock := &Lock{Suite: suite, Snapshot: time.Now().UTC().Truncate(time.Second)}
	if _, err := apt(ctx, dir, "update", "-qq", "-o", "APT::Update::Error-Mode=any"); err != nil {
		return nil, err
	}
	for _, arch := range archs {
		// As on a machine of this architecture: packages of all architectures belong to it, too.
		args := []string{"download", "-qq", "--print-uris", "-o", "APT::Architecture=" + arch}
		out, err := apt(ctx, dir, append(args, names...)...)
		if err != nil {
			return nil, err
		}
		packages, err := parseURIs(out, mirror, arch)
		if err != nil {
			return nil, err
		}
		if len(packages) != len(names) {
			return nil, fmt.Errorf("apt-get names %d packages of %s and not %d: %s", len(packages), arch, len(names), out)
		}
		lock.Packages = append(lock.Packages, packages...)
	}
	return lock, nil
}

// apt runs apt-get with the configuration below a directory.
func apt(ctx context.Context, dir string, args ...string) (string, error) {
	options := []string{
		"-o", "Dir::State::lists=" + dir + "/lists", "-o", "Dir::State::status=" + dir + "/status", "-o", "Dir::Cache=" + dir + "/cache",
		"-o", "Dir::Etc::sourcelist=" + dir + "/etc/sources.list", "-o", "Dir::Etc::sourceparts=-", "-o", "APT::Sandbox::User=root",
		"-o", "APT::Architectures::=amd64", "-o", "APT::Architectures::=arm64",
	}
	cmd := exec.CommandContext(ctx, "apt-get", append(options, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("apt-get %s: %w: %s", args[0], err, stderr.String())
	}
	return string(out), nil
}

// uri is a line such as
//
//	'http://deb.debian.org/debian/pool/main/g/glibc/libc6_2.36-9%2bdeb12u14_amd64.deb' libc6_2.36-9+deb12u14_amd64.deb 2759320 SHA256:ba4f...
var uri = regexp.MustCompile(`^'([^']+)' ([^_ ]+)_([^_ ]+)_[a-z0-9]+\.deb \d+ SHA256:([0-9a-f]{64})$`)

// parseURIs reads the output of apt-get download --print-uris.
func parseURIs(out, mirror, arch string) ([]Package, error) {
	var packages []Package
	for line := range strings.Lines(out) {
		m := uri.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || !strings.HasPrefix(m[1], mirror+"/") {
			return nil, fmt.Errorf("apt-get prints an unexpected line: %s", line)
		}
		version, err := url.PathUnescape(m[3])
		if err != nil {
			return nil, err
		}
		file, err := url.PathUnescape(path.Clean(strings.TrimPrefix(m[1], mirror+"/")))
		if err != nil {
			return nil, err
		}
		packages = append(packages, Package{Name: m[2], Version: version, Arch: arch, SHA256: m[4], Path: file})
	}
	return packages, nil
}
