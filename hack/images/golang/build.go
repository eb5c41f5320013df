// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package golang builds the programs of the images, the same bytes in any folder, and finds
// the modules and licences of what they consist of.
package golang

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

// Program is a static program for one platform.
type Program struct {
	Name    string
	Arch    string
	Content []byte
	Info    *debug.BuildInfo // its modules, and how it was built
}

// Flags returns the linker's flags, those of the Makefile.
func Flags(version string) string {
	return "-s -w -X github.com/fairlead-proxy/fairlead/version.Version=" + version
}

// Build builds a package below cmd/ of the sources in a directory.
func Build(ctx context.Context, sources, name, arch, version string) (*Program, error) {
	dir, err := os.MkdirTemp("", "fairlead-images-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, name)
	_, err = run(ctx, sources, arch, "build", "-trimpath", "-buildvcs=false", "-ldflags", Flags(version), "-o", file, "./cmd/"+name)
	if err != nil {
		return nil, err
	}
	p := &Program{Name: name, Arch: arch}
	if p.Content, err = os.ReadFile(file); err != nil {
		return nil, err
	}
	if p.Info, err = buildinfo.Read(bytes.NewReader(p.Content)); err != nil {
		return nil, fmt.Errorf("read the modules of %s: %w", name, err)
	}
	return p, nil
}

// Environment has the variables that change what go build writes. GOFLAGS of the user's
// environment does not count.
var Environment = []string{
	"CGO_ENABLED=0", "GOOS=linux", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFLAGS=", "GOWORK=off", "GOFIPS140=off",
}

// run runs the go command in a directory, and returns its output.
func run(ctx context.Context, dir, arch string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), Environment...), "GOARCH="+arch, "PWD="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// ModuleDir returns the folder of a module that the module in a directory requires.
func ModuleDir(ctx context.Context, dir, module string) (string, error) {
	out, err := run(ctx, dir, runtime.GOARCH, "list", "-m", "-f", "{{.Dir}}", module)
	if err == nil && len(bytes.TrimSpace(out)) == 0 {
		_, err = run(ctx, dir, runtime.GOARCH, "mod", "download", module)
		if err == nil {
			out, err = run(ctx, dir, runtime.GOARCH, "list", "-m", "-f", "{{.Dir}}", module)
		}
	}
	return string(bytes.TrimSpace(out)), err
}
