// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Suite selects cases.
type Suite struct {
	// Focus is a regular expression for their names.
	Focus *regexp.Regexp
	// Complete: it has all cases, so an exception without one is stale.
	Complete bool
}

// suites are the suites that have a name.
var suites = map[string]Suite{
	"all":         {Focus: regexp.MustCompile(regexp.QuoteMeta(ours)), Complete: true},
	"conformance": {Focus: regexp.MustCompile(regexp.QuoteMeta(ours) + `Services .*\[Conformance\]`)},
}

// SuiteOf returns the suite with a name, or the one of a regular expression.
func SuiteOf(name string) (Suite, error) {
	if suite, ok := suites[name]; ok {
		return suite, nil
	}
	focus, err := regexp.Compile(name)
	if err != nil {
		return Suite{}, fmt.Errorf("suite %q: %w", name, err)
	}
	return Suite{Focus: focus}, nil
}

// Verdict is a judged run.
type Verdict struct {
	// Passed, Failed and Skipped are numbers of cases that were run. Listed is how many of
	// those that did not pass, or were left out, are in the list.
	Passed, Failed, Skipped, Listed int
	// Problems is what makes the run fail.
	Problems []string
}

// Judge compares the cases of a report with the exceptions for its proxy.
func Judge(suite Suite, exceptions Exceptions, cases []Case) Verdict {
	var v Verdict
	used := make([]bool, len(exceptions))
	for _, c := range cases {
		if strings.HasPrefix(c.Name, ours) && !suite.Focus.MatchString(c.Name) {
			continue
		}
		v.count(c)
		v.judge(c, exceptions, used)
	}
	if v.Passed+v.Failed+v.Skipped == 0 {
		v.Problems = append(v.Problems, "no case was run")
	}
	for i, e := range exceptions {
		if suite.Complete && !used[i] {
			v.Problems = append(v.Problems, fmt.Sprintf("stale exception: no case matches %q", e.Cases))
		}
	}
	return v
}

// count adds a case to the numbers.
func (v *Verdict) count(c Case) {
	switch c.Outcome {
	case Passed:
		v.Passed++
	case Failed:
		v.Failed++
	case Skipped:
		v.Skipped++
	}
}

// judge finds out whether the list allows what has become of a case.
func (v *Verdict) judge(c Case, exceptions Exceptions, used []bool) {
	listed := false
	for i, e := range exceptions {
		// What is left out cannot be in the list because of its outcome, and the reverse.
		if !e.pattern.MatchString(c.Name) || e.Skip != (c.Outcome == NotSelected) {
			continue
		}
		used[i] = true
		if c.Outcome == Passed {
			v.Problems = append(v.Problems, fmt.Sprintf("stale exception %q: passed: %s", e.Cases, c.Name))
		}
		listed = true
	}
	switch {
	case c.Outcome == Passed:
	case listed:
		v.Listed++
	case c.Outcome == NotSelected:
		v.Problems = append(v.Problems, "not run: "+c.Name)
	default:
		v.Problems = append(v.Problems, fmt.Sprintf("%s: %s: %s", c.Outcome, c.Name, c.Message))
	}
}

// VerdictHead is the head of a table of verdicts.
const VerdictHead = `| proxy | run | passed | failed | skipped by itself | in the list | minutes |
|---|---|---|---|---|---|---|`

// Row is the row of a run in the table; took is how long it took.
func (v Verdict) Row(proxy Proxy, took time.Duration) string {
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %.1f |",
		proxy, v.Passed+v.Failed+v.Skipped, v.Passed, v.Failed, v.Skipped, v.Listed, took.Minutes())
}
