// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// timeout bounds a suite. A mutant may make one hang.
const timeout = "120s"

// outcome is what a suite showed.
type outcome struct {
	passed []string // tests that ran and did not skip
	failed []string // tests, or what the package itself says
}

// event is a line of go test -json.
type event struct {
	Action, Package, Test, Output, FailedBuild string
}

// run runs a suite with some files replaced. The tree stays as it is, so what does not
// depend on these files comes from the build cache. The error says why the suite could not
// run: a bug that does not compile is not found by it.
func (s Suite) run(ctx context.Context, root string, replaced map[string]string) (outcome, error) {
	dir, pattern := s.module(root)
	// -count=1: results in go's cache do not depend on files that tests read outside their module.
	args := []string{"go", "test", "-json", "-vet=off", "-failfast", "-count=1", "-timeout=" + timeout}
	if s.Run != "" {
		args = append(args, "-run="+s.Run)
	}
	var shadowed map[string]string
	if len(replaced) > 0 {
		tmp, err := os.MkdirTemp("", "mutant-")
		if err != nil {
			return outcome{}, err
		}
		defer func() { _ = os.RemoveAll(tmp) }() // a small file is left
		code, others, err := writeChanged(tmp, root, replaced)
		if err != nil {
			return outcome{}, err
		}
		overlay, err := writeOverlay(tmp, code)
		if err != nil {
			return outcome{}, err
		}
		args = append(args, "-overlay="+overlay)
		shadowed = others
	}
	args = append(args, pattern)
	if len(shadowed) > 0 || strings.HasPrefix(s.Package, "./test/") {
		args = apart(shadowed, args)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, failure := cmd.Output()
	if ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	out, err := read(stdout)
	switch {
	case err != nil:
		return out, fmt.Errorf("%w\n%s", err, stderr.String())
	case (failure != nil) != (len(out.failed) > 0):
		return out, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), errors.Join(failure, errUnclear), stderr.String())
	}
	return out, nil
}

var errUnclear = errors.New("its output and its exit status differ")

// module returns the folder of the module that has the package, and the package from there.
func (s Suite) module(root string) (dir, pattern string) {
	dir = filepath.Join(root, s.Package)
	for dir != root {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	pattern = strings.TrimPrefix(filepath.Join(root, s.Package), dir)
	return dir, "." + pattern
}

// writeChanged writes changed files into a folder. It returns where they are by the files
// whose place they take: code, and others, such as manifests.
func writeChanged(tmp, root string, replaced map[string]string) (code, others map[string]string, err error) {
	code, others = map[string]string{}, map[string]string{}
	for path, text := range replaced {
		changed := filepath.Join(tmp, strings.ReplaceAll(path, "/", "_"))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			return nil, nil, err
		}
		kind := others
		if filepath.Ext(path) == ".go" {
			kind = code
		}
		kind[filepath.Join(root, path)] = changed
	}
	return code, others, nil
}

// writeOverlay writes the file of go's flag -overlay.
func writeOverlay(tmp string, code map[string]string) (string, error) {
	text, err := json.Marshal(struct{ Replace map[string]string }{code})
	if err != nil {
		return "", err
	}
	path := filepath.Join(tmp, "overlay.json")
	return path, os.WriteFile(path, text, 0o600)
}

// apart returns a command that runs another in a mount namespace and a PID namespace of its
// own. Changed files are mounted over those whose place they take: an overlay has only what go
// itself reads, and not what tests read. What a test that is killed leaves ends with it, such
// as a control plane.
func apart(others map[string]string, command []string) []string {
	out := []string{"unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"}
	if os.Geteuid() != 0 {
		out = append(out, "--map-root-user")
	}
	out = append(out, "sh", "-c", `while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit; shift 2; done; shift; "$@"`, "sh")
	for place, changed := range others {
		out = append(out, changed, place)
	}
	return append(append(out, "--"), command...)
}

// read reads the events of a suite.
func read(stdout []byte) (outcome, error) {
	var out outcome
	var build strings.Builder
	ran := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(stdout))
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return out, fmt.Errorf("read the output of go test: %w", err)
		}
		switch {
		case e.Action == "build-output":
			build.WriteString(e.Output)
		case e.FailedBuild != "":
			return out, fmt.Errorf("it does not compile:\n%s", build.String())
		case e.Action == "run":
			ran[e.Test] = true
		case e.Test != "" && (e.Action == "pass" || e.Action == "fail"):
			delete(ran, e.Test)
			if e.Action == "pass" {
				out.passed = append(out.passed, e.Test)
			} else {
				out.failed = append(out.failed, e.Test)
			}
		case e.Test != "" && e.Action == "skip":
			delete(ran, e.Test)
		case e.Action == "fail" && len(out.failed) == 0:
			// A panic, a timeout or an exit ends the process, not a test.
			for test := range ran {
				out.failed = append(out.failed, test)
			}
			slices.Sort(out.failed)
			if len(out.failed) == 0 {
				out.failed = []string{"the package"}
			}
		}
	}
	return out, lines.Err()
}
