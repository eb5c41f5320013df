// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package check says what keeps an installation from working as it should, and how to mend it. Checks are
// pure functions of facts from the API.
package check

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/kubectl/status"
)

// Report are the checks by category.
type Report struct {
	Categories []Category `json:"categories"`
	// Incomplete says that checks are left out, because what they need could not be read.
	Incomplete bool `json:"incomplete,omitempty"`
}

// Category is a group of checks.
type Category struct {
	Name   string   `json:"name"`
	Checks []Result `json:"checks"`
}

// Result is what a check has found.
type Result struct {
	// Name says what is so if the check passes.
	Name string `json:"name"`
	Pass bool   `json:"pass"`
	// Found are the faults, Fix how to mend them, and Docs where more is said. They are set if the
	// check does not pass.
	Found []string `json:"found,omitempty"`
	Fix   string   `json:"fix,omitempty"`
	Docs  string   `json:"docs,omitempty"`
}

// one is a check: what it looks for in the facts.
type one struct {
	name, fix, docs string
	find            func(*Facts) []string
}

// Of returns the report of the facts.
func Of(facts Facts) Report {
	facts.report = status.Of(facts.Reported)
	facts.skew = skewOf(facts.Reported.Heartbeats)
	out := Report{Incomplete: !facts.Read}
	for _, category := range categories {
		if !category.shown(&facts) {
			continue
		}
		c := Category{Name: category.name}
		for _, check := range category.checks {
			r := Result{Name: check.name, Found: check.find(&facts)}
			if r.Pass = len(r.Found) == 0; !r.Pass {
				slices.Sort(r.Found)
				r.Fix, r.Docs = check.fix, check.docs
			}
			c.Checks = append(c.Checks, r)
		}
		out.Categories = append(out.Categories, c)
	}
	return out
}

// Pass says whether all checks do.
func (r *Report) Pass() bool {
	return !r.Incomplete && !slices.ContainsFunc(r.Categories, func(c Category) bool {
		return slices.ContainsFunc(c.Checks, func(r Result) bool { return !r.Pass })
	})
}

// Print shows the report.
func (r *Report) Print(to io.Writer) error {
	var text strings.Builder
	failed := 0
	for i, category := range r.Categories {
		if i > 0 {
			text.WriteString("\n")
		}
		fmt.Fprintln(&text, category.Name)
		for _, c := range category.Checks {
			if c.Pass {
				fmt.Fprintf(&text, "√ %s\n", c.Name)
				continue
			}
			failed++
			fmt.Fprintf(&text, "× %s\n", c.Name)
			for _, found := range c.Found {
				fmt.Fprintf(&text, "    %s\n", found)
			}
			fmt.Fprintf(&text, "    Fix: %s\n    See: %s\n", c.Fix, c.Docs)
		}
	}
	switch {
	case r.Incomplete:
		text.WriteString("\nThe other checks need what is missing here.\n")
	case failed > 0:
		fmt.Fprintf(&text, "\nChecks that fail: %d\n", failed)
	default:
		text.WriteString("\nAll checks pass.\n")
	}
	if _, err := io.WriteString(to, text.String()); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
