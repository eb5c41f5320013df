// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const root = "../.."

// fewest is how many bugs there are to find.
const fewest = 100

// TestMutantsApply checks that each mutant changes the code as it is, into code that can be
// parsed, and that its suite exists. `make test-mutants` checks that the suites find them.
func TestMutantsApply(t *testing.T) {
	all, err := Load(".", regexp.MustCompile(""))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < fewest {
		t.Errorf("there are %d mutants, fewer than %d", len(all), fewest)
	}
	for _, m := range all {
		t.Run(m.Name, func(t *testing.T) {
			replaced, err := m.Apply(root)
			if err != nil {
				t.Fatal(err)
			}
			for path, text := range replaced {
				if strings.HasSuffix(path, "_test.go") {
					t.Errorf("%s is a test", path)
				}
				if err := parses(path, text); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
			checkSuite(t, m.Suite)
		})
	}
}

// parses returns why a changed file is malformed.
func parses(path, text string) error {
	if filepath.Ext(path) == ".go" {
		_, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		return err
	}
	for document := range strings.SplitSeq(text, "\n---\n") {
		var content any
		if err := yaml.Unmarshal([]byte(document), &content); err != nil {
			return err
		}
	}
	return nil
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// checkSuite checks that each alternative of Run matches a test.
func checkSuite(t *testing.T, s Suite) {
	files, err := filepath.Glob(filepath.Join(root, s.Package, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no tests: %v", s.Package, err)
	}
	var tests []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range testFunction.FindAllStringSubmatch(string(text), -1) {
			tests = append(tests, match[1])
		}
	}
	function, _, _ := strings.Cut(s.Run, "/")
	for one := range strings.SplitSeq(function, "|") {
		pattern, found := regexp.MustCompile(one), false
		for _, test := range tests {
			found = found || pattern.MatchString(test)
		}
		if !found {
			t.Errorf("%s has no test that matches %q", s.Package, one)
		}
	}
}
