// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package modes

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/toymode"
)

// root is the checkout's folder.
const root = "../.."

// knowsMode says whether a package may know a mode by its name: the API, the modes
// themselves, this package, and packages for tests.
func knowsMode(folder string) bool {
	for _, f := range []string{"api", "agent/modes", "agent/internal"} {
		if folder == f || strings.HasPrefix(folder, f+"/") {
			return true
		}
	}
	return strings.HasPrefix(folder, "agent/dataplane/")
}

// A mode that is added needs its package and a line here, and nothing else: no code names
// the toy, and none outside of the modes decides by a mode's name.
func TestNoOtherCodeKnowsAMode(t *testing.T) {
	files := 0
	for _, folder := range []string{"agent", "api", "cmd", "controllers", "rules"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			within, err := filepath.Rel(root, filepath.Dir(path))
			if err != nil || within == "agent/internal/toymode" {
				return err
			}
			files++
			for _, name := range modesNamed(t, path, knowsMode(filepath.ToSlash(within))) {
				t.Errorf("%s names a mode: %s", path, name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 100 {
		t.Errorf("only %d files are looked at", files)
	}
}

// modesNamed returns the names and texts in a file that are a mode's; of the toy only,
// where others may be known.
func modesNamed(t *testing.T, path string, known bool) (out []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range All() {
		if !known || m.Name == toymode.Name {
			names["mode"+strings.ToLower(string(m.Name))] = true // a constant
			names[`"`+strings.ToLower(string(m.Name))+`"`] = true
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		text := ""
		switch n := n.(type) {
		case *ast.Ident:
			text = n.Name
		case *ast.BasicLit:
			text = n.Value
		}
		if text != "" && (names[strings.ToLower(text)] || strings.Contains(text, "toymode")) {
			out = append(out, text)
		}
		return true
	})
	return out
}
