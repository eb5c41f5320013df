// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package docs tests the documentation: links lead somewhere, and lists that follow from the
// code are complete.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const root = ".."

// page is a Markdown file without its code: the anchors of its headings, and its links.
type page struct {
	anchors map[string]bool
	links   []link
}

type link struct {
	line   int
	target string
}

var (
	fence      = regexp.MustCompile("^\\s*(```+|~~~+)")
	inlineCode = regexp.MustCompile("`+[^`]*`+")
	heading    = regexp.MustCompile(`^#{1,6} +(.*?) *#*$`)
	inline     = regexp.MustCompile(`\]\(([^()\s]+)(?: "[^"]*")?\)`)
	reference  = regexp.MustCompile(`^ {0,3}\[[^\]]+\]: *(\S+)`)
	htmlAnchor = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	linkText   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	// Texts that are no Markdown name documents, too: comments, commands, what kubectl fairlead check prints.
	mention = regexp.MustCompile(`\bdocs/[a-z-]+\.md(?:#[a-z0-9_-]+)?`)
)

func parsePage(text string) page {
	p := page{anchors: map[string]bool{}}
	fenced := ""
	for i, line := range strings.Split(text, "\n") {
		if found := fence.FindStringSubmatch(line); found != nil {
			switch {
			case fenced == "":
				fenced = found[1]
			case strings.HasPrefix(found[1], fenced):
				fenced = ""
			}
			continue
		}
		if fenced != "" {
			continue
		}
		if found := heading.FindStringSubmatch(line); found != nil {
			p.addAnchor(slug(found[1]))
		}
		for _, found := range htmlAnchor.FindAllStringSubmatch(line, -1) {
			p.anchors[found[1]] = true
		}
		line = inlineCode.ReplaceAllString(line, "")
		for _, form := range []*regexp.Regexp{inline, reference} {
			for _, found := range form.FindAllStringSubmatch(line, -1) {
				p.links = append(p.links, link{i + 1, found[1]})
			}
		}
	}
	return p
}

// addAnchor adds the anchor of a heading; GitHub numbers those that are there already.
func (p page) addAnchor(anchor string) {
	unique := anchor
	for n := 1; p.anchors[unique]; n++ {
		unique = fmt.Sprintf("%s-%d", anchor, n)
	}
	p.anchors[unique] = true
}

// slug is the anchor that GitHub gives a heading.
func slug(heading string) string {
	heading = linkText.ReplaceAllString(heading, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// files are the project's files with such names, relative to the root.
func files(t *testing.T, extensions ...string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if d.IsDir() && (name == "bin" || name == "dist" || name == ".git") {
			return filepath.SkipDir
		}
		if d.Type().IsRegular() && slices.Contains(extensions, filepath.Ext(path)) {
			out = append(out, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// problem says what is wrong with a link from a file of the folder.
func problem(pages map[string]page, from, target string) string {
	path, anchor, anchored := strings.Cut(target, "#")
	name := from
	if path != "" {
		name = filepath.Join(filepath.Dir(from), filepath.FromSlash(path))
	}
	if _, err := os.Stat(filepath.Join(root, name)); err != nil {
		return "there is no " + name
	}
	if !anchored || pages[name].anchors[anchor] {
		return ""
	}
	return fmt.Sprintf("%s has no heading with the anchor %q", name, anchor)
}

func TestLinks(t *testing.T) {
	pages := map[string]page{}
	for _, name := range files(t, ".md") {
		pages[name] = parsePage(read(t, name))
	}
	links := 0
	for name, p := range pages {
		for _, l := range p.links {
			if strings.Contains(l.target, "://") || strings.HasPrefix(l.target, "mailto:") {
				continue
			}
			links++
			if wrong := problem(pages, name, l.target); wrong != "" {
				t.Errorf("%s:%d: %s: %s", name, l.line, l.target, wrong)
			}
		}
	}
	mentions := 0
	for _, name := range files(t, ".go", ".sh", ".yaml") {
		for _, target := range mention.FindAllString(read(t, name), -1) {
			mentions++
			if wrong := problem(pages, ".", target); wrong != "" {
				t.Errorf("%s: %s: %s", name, target, wrong)
			}
		}
	}
	if links < 100 || mentions < 20 {
		t.Errorf("%d links and %d mentions were found: is something not read?", links, mentions)
	}
}

// Every document can be found from the index.
func TestIndex(t *testing.T) {
	index := parsePage(read(t, "docs/README.md"))
	for _, name := range files(t, ".md") {
		relative, err := filepath.Rel("docs", name)
		if err != nil || filepath.Dir(name) != "docs" || name == "docs/README.md" {
			continue
		}
		if !slices.ContainsFunc(index.links, func(l link) bool { return l.target == filepath.ToSlash(relative) }) {
			t.Errorf("docs/README.md has no link to %s", name)
		}
	}
}

func TestParsePage(t *testing.T) {
	p := parsePage("# A `b.c` & [d](e.md): f_g\n## A\n## A\n[x](y.md#z) `[no](no.md)` [u][v]\n\n[v]: w.md\n```\n# not\n[no](no.md)\n```\n")
	for _, anchor := range []string{"a-bc--d-f_g", "a", "a-1"} {
		if !p.anchors[anchor] {
			t.Errorf("no anchor %s: %v", anchor, p.anchors)
		}
	}
	want := []link{{1, "e.md"}, {4, "y.md#z"}, {6, "w.md"}}
	if len(p.anchors) != 3 || !slices.Equal(p.links, want) {
		t.Errorf("got %d anchors and %v, want 3 and %v", len(p.anchors), p.links, want)
	}
}
