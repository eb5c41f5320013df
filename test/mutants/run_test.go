// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	numbers = "two: 2\n"
	code    = `package sum

func Add(a, b int) int {
	// Whole numbers.
	return a + b
}

func Sub(a, b int) int {
	// Whole numbers.
	return a - b
}
`
	tests = `package sum

import (
	"os"
	"testing"
)

func TestRead(t *testing.T) {
	if text, err := os.ReadFile("../numbers.yaml"); err != nil || string(text) != "two: 2\n" {
		t.Error(string(text), err)
	}
}

func TestAdd(t *testing.T) {
	t.Run("two", func(t *testing.T) {
		if Add(1, 2) != 3 {
			t.Error("wrong")
		}
	})
}

func TestBroken(t *testing.T) { t.Error("always") }

func TestSkipped(t *testing.T) { t.Skip() }
`
)

// replace is a mutant of the function Add, or of Sub.
func replace(old, now, run string) Mutant {
	return Mutant{Name: "sum/x", Bug: "It is wrong.", Suite: Suite{"./sum", run},
		Diff: []FileDiff{{"sum/sum.go", []Hunk{{"\t" + old + "\n", "\t" + now + "\n"}}}}}
}

// TestRun plants bugs in a module of its own.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GOFLAGS", "")
	t.Setenv("GOWORK", "off")
	for path, text := range map[string]string{"go.mod": "module example\n\ngo 1.25\n", "sum/sum.go": code, "sum/sum_test.go": tests, "numbers.yaml": numbers} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	manifest := func(now, run string) Mutant {
		return Mutant{Name: "sum/x", Bug: "It is wrong.", Suite: Suite{"./sum", run}, Diff: []FileDiff{{"numbers.yaml", []Hunk{{numbers, now}}}}}
	}
	runner := &Runner{Root: dir}
	for name, c := range map[string]struct {
		mutant  Mutant
		verdict string
		text    string // of the test or the error
	}{
		"found":                     {replace("return a + b", "return a - b - 0", "TestAdd"), "found", "TestAdd/two"},
		"found by a panic":          {replace("return a + b", `panic("no")`, "TestAdd"), "found", "TestAdd/two"},
		"found in what is read":     {manifest("two: 3\n", "TestRead"), "found", "TestRead"},
		"missed in what is read":    {manifest("two: 3\n", "TestAdd"), "missed", ""},
		"missed":                    {replace("return a - b", "return a + b + 0", "TestAdd"), "missed", ""},
		"it does not compile":       {replace("return a + b", "return c", "TestAdd"), "error", "it does not compile"},
		"fails without the bug":     {replace("return a + b", "return b", "TestBroken"), "error", "the suite fails without the bug: TestBroken"},
		"no test":                   {replace("return a + b", "return b", "TestNone"), "error", "no test of the suite runs here"},
		"all are skipped":           {replace("return a + b", "return b", "TestSkipped"), "error", "no test of the suite runs here"},
		"the code is another":       {replace("return a * b", "return b", "TestAdd"), "error", "0 times instead of once"},
		"it could be at two places": {replace("// Whole numbers.", "// Numbers.", "TestAdd"), "error", "2 times instead of once"},
		"it changes nothing":        {replace("return a + b", "return a + b", "TestAdd"), "error", "not changed"},
	} {
		t.Run(name, func(t *testing.T) {
			got := runner.Run(t.Context(), c.mutant)
			text := got.FoundBy
			if got.Err != nil {
				text = got.Err.Error()
			}
			if got.Verdict() != c.verdict || !strings.Contains(text, c.text) {
				t.Errorf("%s by %q (%v), want %s by %q", got.Verdict(), got.FoundBy, got.Err, c.verdict, c.text)
			}
		})
	}
	for path, want := range map[string]string{"sum/sum.go": code, "numbers.yaml": numbers} {
		if text, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(text) != want {
			t.Errorf("%s was changed (%v):\n%s", path, err, text)
		}
	}
}

func TestParse(t *testing.T) {
	const head, diff = "Bug: Wrong.\nPackage: ./sum\nRun: TestAdd\n", `--- a/sum/sum.go
+++ b/sum/sum.go
@@ -3,3 +3,3 @@
 func Add(a, b int) int {
-	return a + b
+	return a - b
 }
`
	want := Mutant{Name: "sum/x", Bug: "Wrong.", Suite: Suite{"./sum", "TestAdd"},
		Diff: []FileDiff{{"sum/sum.go", []Hunk{{"func Add(a, b int) int {\n\treturn a + b\n}\n", "func Add(a, b int) int {\n\treturn a - b\n}\n"}}}}}
	got, err := parse("sum/x", head+diff)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for name, text := range map[string]string{
		"no bug":           "Package: ./sum\n" + diff,
		"no package":       "Bug: Wrong.\n" + diff,
		"another line":     head + "Note: x\n" + diff,
		"a wrong pattern":  strings.Replace(head, "TestAdd", "(", 1) + diff,
		"no diff":          head,
		"a line of a diff": head + diff + "?\n",
	} {
		if m, err := parse("sum/x", text); err == nil {
			t.Errorf("%s is no error: %+v", name, m)
		}
	}
}
