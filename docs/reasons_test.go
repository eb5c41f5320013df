// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
)

// reasonWord is the form of a reason of a condition, an event or a limitation.
var reasonWord = regexp.MustCompile(`^[A-Z][A-Za-z0-9]+$`)

// goFiles parses the Go files below folders, without tests and without what is only for tests.
func goFiles(t *testing.T, folders ...string) []*ast.File {
	t.Helper()
	var out []*ast.File
	for _, name := range files(t, ".go") {
		slash := filepath.ToSlash(name)
		if strings.HasSuffix(slash, "_test.go") || strings.HasPrefix(slash, "agent/internal/") {
			continue
		}
		for _, folder := range folders {
			if strings.HasPrefix(slash, folder) {
				f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.SkipObjectResolution)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, f)
			}
		}
	}
	return out
}

// constants returns the string constants that are selected by their name, or the name of their type.
func constants(files []*ast.File, selects func(name, kind string) bool) sets.Set[string] {
	out := sets.Set[string]{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, name := range spec.Names {
				if i < len(spec.Values) && selects(name.Name, nameOf(spec.Type)) {
					out.Insert(words(spec.Values[i])...)
				}
			}
			return true
		})
	}
	return out
}

// literals returns the reasons that are no constants: what is assigned to a field Reason, and
// arguments of the functions that set conditions.
func literals(files []*ast.File) sets.Set[string] {
	out := sets.Set[string]{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if nameOf(n.Key) == "Reason" {
					out.Insert(words(n.Value)...)
				}
			case *ast.AssignStmt:
				for i, to := range n.Lhs {
					if i < len(n.Rhs) && nameOf(to) == "Reason" {
						out.Insert(words(n.Rhs[i])...)
					}
				}
			case *ast.CallExpr:
				if name := nameOf(n.Fun); name == "set" || name == "condition" {
					for _, arg := range n.Args {
						out.Insert(words(arg)...)
					}
				}
			}
			return true
		})
	}
	return out
}

// nameOf returns the last part of a name; empty: it is none.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// words returns the value of a string literal that is a reason.
func words(e ast.Expr) []string {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		if s, err := strconv.Unquote(lit.Value); err == nil && reasonWord.MatchString(s) {
			return []string{s}
		}
	}
	return nil
}

// rows returns the names that begin the rows of the tables in a section of a document.
func rows(t *testing.T, document, section string) sets.Set[string] {
	t.Helper()
	_, text, found := strings.Cut(read(t, document), "\n"+section+"\n")
	if !found {
		t.Fatalf("%s has no section %s", document, section)
	}
	level := section[:strings.Index(section, " ")+1]
	text, _, _ = strings.Cut(text, "\n"+level)
	out := sets.Set[string]{}
	for _, line := range strings.Split(text, "\n") {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
			if out.Has(name[1]) {
				t.Errorf("%s, %s: %s is there twice", document, section, name[1])
			}
			out.Insert(name[1])
		}
	}
	return out
}

// Every reason that a user may meet is explained once, and no other.
func TestReasonsAreExplained(t *testing.T) {
	api := goFiles(t, "api/v1alpha1/")
	conditions := constants(api, func(name, _ string) bool { return strings.HasPrefix(name, "Reason") }).
		Union(literals(goFiles(t, "controllers/", "agent/report/", "rules/")))
	for name, tc := range map[string]struct {
		document, section string
		want              sets.Set[string]
	}{
		"conditions": {"docs/troubleshooting.md", "## Reasons of conditions", conditions},
		"events": {"docs/troubleshooting.md", "## Events",
			constants(api, func(name, _ string) bool { return strings.HasPrefix(name, "Event") })},
		"limitations": {"docs/troubleshooting.md", "## Limitations",
			constants(goFiles(t, "agent/dataplane/"), func(_, kind string) bool { return kind == "Reason" })},
		"phases of rollouts": {"docs/troubleshooting.md", "## Phases of rollouts",
			constants(api, func(_, kind string) bool { return kind == "RolloutPhase" })},
		"unused endpoints": {"docs/kubectl.md", "## Which endpoint gets a connection, and why",
			constants(goFiles(t, "rules/model/"), func(_, kind string) bool { return kind == "UnusedReason" })},
	} {
		t.Run(name, func(t *testing.T) {
			have := rows(t, tc.document, tc.section)
			for _, reason := range sets.List(tc.want.Difference(have)) {
				t.Errorf("%s, %s: no row explains %s", tc.document, tc.section, reason)
			}
			for _, reason := range sets.List(have.Difference(tc.want)) {
				t.Errorf("%s, %s: the code has no %s", tc.document, tc.section, reason)
			}
			if tc.want.Len() < 3 {
				t.Errorf("only %v were found in the code: is something not read?", sets.List(tc.want))
			}
		})
	}
}
