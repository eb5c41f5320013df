// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package docs runs the commands of the documentation on a lab. A fenced block with the info string
// "sh run" is a script, and one with "text output" after it is what the script prints.
package docs

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
)

const (
	scriptInfo = "sh run"
	outputInfo = "text output"
)

// block is a script of a page.
type block struct {
	line int
	// section is the heading above it.
	section string
	script  string
	// output is empty if it does not matter.
	output string
}

// blocks returns the scripts of a page. An output without a script before it is an error.
func blocks(page []byte) (out []block, err error) {
	root := goldmark.DefaultParser().Parse(text.NewReader(page))
	section := ""
	err = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if heading, is := n.(*ast.Heading); is && entering && heading.Lines().Len() > 0 {
			section = string(heading.Lines().Value(page))
		}
		fence, is := n.(*ast.FencedCodeBlock)
		if !is || !entering || fence.Info == nil || fence.Lines().Len() == 0 {
			return ast.WalkContinue, nil
		}
		line := 1 + strings.Count(string(page[:fence.Lines().At(0).Start]), "\n")
		content := string(fence.Lines().Value(page))
		switch string(fence.Info.Segment.Value(page)) {
		case scriptInfo:
			out = append(out, block{line: line, section: section, script: content})
		case outputInfo:
			if len(out) == 0 || out[len(out)-1].output != "" {
				return ast.WalkStop, fmt.Errorf("line %d: an output without a script", line)
			}
			out[len(out)-1].output = content
		}
		return ast.WalkContinue, nil
	})
	return out, err
}

var (
	spaces = regexp.MustCompile(`[ \t]+`)
	// changing is what differs from run to run: ages, times of the day, hashes of revisions, the ends of Pods' names, and
	// addresses with a port.
	changing = regexp.MustCompile(`\b(\d+d)?(\d+h)?(\d+m)?\d+[smhd]\b|\b\d\d:\d\d:\d\d\.\d{3}\b|\b[0-9a-f]{16}\b|` +
		`-[0-9a-z]{8,10}-[0-9a-z]{5}\b|\b\d+\.\d+\.\d+\.\d+:\d+\b`)
)

// differs says how what a script has printed differs from the page. Widths of columns and what is changing do not
// count, and a line "..." stands for any lines.
func differs(want, got string) error {
	lines := func(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }
	plain := func(line string) string {
		return changing.ReplaceAllString(spaces.ReplaceAllString(strings.TrimSpace(line), " "), "…")
	}
	left, anywhere := lines(got), false
	for _, line := range lines(want) {
		if line == "..." {
			anywhere = true
			continue
		}
		for anywhere && len(left) > 0 && plain(left[0]) != plain(line) {
			left = left[1:]
		}
		if len(left) == 0 || plain(left[0]) != plain(line) {
			return fmt.Errorf("the page has the line\n%s\nand the output is\n%s", line, got)
		}
		left, anywhere = left[1:], false
	}
	if len(left) > 0 && !anywhere {
		return fmt.Errorf("the page does not have the line\n%s\nof the output\n%s", left[0], got)
	}
	return nil
}
