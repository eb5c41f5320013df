// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
)

// found returns what the first group of a pattern matches in files.
func found(t *testing.T, pattern string, names []string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range names {
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(read(t, name), -1) {
			out[match[1]] = name
		}
	}
	return out
}

// below returns the files in folders.
func below(names []string, folders ...string) []string {
	var out []string
	for _, name := range names {
		for _, folder := range folders {
			if strings.HasPrefix(name, folder) {
				out = append(out, name)
			}
		}
	}
	return out
}

// What documents, and the texts of kubectl fairlead, name in a cluster and in the Makefile exists.
func TestNamesExist(t *testing.T) {
	documents := files(t, ".md")
	for kind, tc := range map[string]struct {
		named  map[string]string
		exists map[string]string
	}{
		"role": {found(t, `\b(fairlead-[a-z-]+-role)\b`, append(below(files(t, ".go"), "kubectl/"), documents...)),
			found(t, `(?m)^  name: (fairlead-[a-z-]+-role)$`, below(files(t, ".yaml"), "charts/", "config/", "bundle/"))},
		"admission policy": {found(t, `\b(fairlead-[a-z-]+\.fairlead\.dev)\b`, documents),
			found(t, `(?m)^  name: (fairlead-[a-z-]+\.fairlead\.dev)$`, below(files(t, ".yaml"), "charts/", "config/"))},
		"target of make": {found(t, "(?m)(?:`|^)make ([a-z][a-z0-9-]*)", documents), found(t, `(?m)^([a-z][a-z0-9-]*):`, []string{"Makefile"})},
		"command of the plugin": {found(t, "(?m)(?:`|^)kubectl fairlead ([a-z]+)", documents),
			found(t, `Use: +"([a-z]+)`, below(files(t, ".go"), "kubectl/"))},
	} {
		for name, document := range tc.named {
			if _, ok := tc.exists[name]; !ok {
				t.Errorf("%s names the %s %s, which does not exist", document, kind, name)
			}
		}
		if len(tc.named) < 3 {
			t.Errorf("only these were found of the kind %s: %v", kind, sets.List(sets.KeySet(tc.named)))
		}
	}
}
