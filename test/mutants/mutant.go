// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mutants plants bugs, one at a time, and checks that the nearest tests find each.
//
// A mutant is a file AREA/NAME.patch: lines that say what it is, and a unified diff.
//
//	Bug: one sentence.
//	Package: ./rules/resolve
//	Run: TestTable
//	--- a/rules/resolve/table.go
//	+++ b/rules/resolve/table.go
//	@@ -205,1 +205,1 @@
//	...
//
// Package is the suite that finds it, from the root of the repository. Run selects its
// tests, as in go test -run; without it all tests run.
package mutants

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Mutant is a bug, and the suite that finds it.
type Mutant struct {
	Name  string // AREA/NAME
	Bug   string
	Suite Suite
	Diff  []FileDiff
}

// Suite are tests of a package.
type Suite struct {
	Package string // ./..., from the root of the repository
	Run     string // as in go test -run; empty: all
}

// String returns for example "./rules/resolve -run TestTable".
func (s Suite) String() string {
	if s.Run == "" {
		return s.Package
	}
	return s.Package + " -run " + s.Run
}

// Load reads the mutants in the folders of dir whose name matches, sorted by name. The
// errors name malformed files.
func Load(dir string, match *regexp.Regexp) ([]Mutant, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*.patch"))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var out []Mutant
	for _, path := range paths {
		name := filepath.Base(filepath.Dir(path)) + "/" + strings.TrimSuffix(filepath.Base(path), ".patch")
		if !match.MatchString(name) {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		m, err := parse(name, string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, m)
	}
	return out, nil
}

func parse(name, text string) (Mutant, error) {
	m := Mutant{Name: name}
	fields := map[string]*string{"Bug": &m.Bug, "Package": &m.Suite.Package, "Run": &m.Suite.Run}
	for text != "" && !strings.HasPrefix(text, "--- ") {
		line, rest, _ := strings.Cut(text, "\n")
		key, value, _ := strings.Cut(line, ": ")
		if fields[key] == nil {
			return m, fmt.Errorf("line %q is none of Bug, Package, Run and the diff", line)
		}
		*fields[key], text = value, rest
	}
	if m.Bug == "" || !strings.HasPrefix(m.Suite.Package, "./") {
		return m, fmt.Errorf("it must have a Bug, and a Package that begins with ./")
	}
	if _, err := regexp.Compile(m.Suite.Run); err != nil {
		return m, err
	}
	var err error
	m.Diff, err = parseDiff(text)
	return m, err
}
