// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBlocks(t *testing.T) {
	const page = "# A\n\nB\n===\n\n## `C` c\n\n```sh run\nfirst \\\n  -x\n```\n\n* in a list\n\n  ```sh run\n  second\n  ```\n\n" +
		"```text output\n...\n2\n```\n\n```sh\nnot run\n```\n\n```\nneither\n```\n"
	got, err := blocks([]byte(page))
	want := []block{{line: 9, section: "`C` c", script: "first \\\n  -x\n"}, {line: 16, section: "`C` c", script: "second\n", output: "...\n2\n"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(block{})); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	const wrong = "```sh run\nx\n```\n```text output\n1\n```\n```text output\n2\n```\n"
	if got, err := blocks([]byte(wrong)); err == nil || !strings.Contains(err.Error(), "line 8") {
		t.Errorf("two outputs of a script: %v, %v", got, err)
	}
}

func TestDiffers(t *testing.T) {
	cases := map[string]struct {
		want, got string
		differs   bool
	}{
		"same":                 {"a b\nc", "a b\nc\n", false},
		"other widths":         {"a   b", "a b", false},
		"ages and hashes":      {"web-0123456789abcdef 5s", "web-fedcba9876543210 2m30s", false},
		"addresses":            {"web-7d4b9c5f6d-x2k4q (10.244.1.2:9000)", "web-588ff4d8c9-zzzzz (10.244.3.7:41000)", false},
		"another address":      {"10.244.1.2", "10.244.1.3", true},
		"times":                {"12:00:01.234 node-1", "23:59:59.999 node-1", false},
		"another name":         {"web 5s", "shop 5s", true},
		"another number":       {"web 3", "web 4", true},
		"more":                 {"a", "a\nb", true},
		"less":                 {"a\nb", "a", true},
		"nothing":              {"a", "", true},
		"more before":          {"...\nb", "x\ny\nb", false},
		"nothing before":       {"...\nb", "b", false},
		"more behind":          {"a\n...", "a\nx", false},
		"more between":         {"a\n...\nb", "a\nx\nb", false},
		"behind that, more":    {"a\n...\nb", "a\nx\nb\nc", true},
		"behind that, another": {"a\n...\nb", "a\nx\nc", true},
		"the order":            {"a\n...\nb\nc", "a\nc\nb", true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if err := differs(tc.want, tc.got); (err != nil) != tc.differs {
				t.Errorf("%v", err)
			}
		})
	}
}
