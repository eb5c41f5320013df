// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJudge(t *testing.T) {
	const (
		services = "[sig-network] Services should work [Conformance]"
		dns      = "[sig-network] DNS should work"
	)
	runs := `[{cases: DNS, reason: x}]`
	skips := `[{cases: DNS, skip: true, reason: x}]`
	for name, tc := range map[string]struct {
		suite, exceptions string
		cases             []Case
		want              Verdict
	}{
		"all pass": {
			"all", `[]`, []Case{{services, Passed, ""}, {dns, Passed, ""}},
			Verdict{Passed: 2},
		},
		"no case": {
			"all", `[]`, nil,
			Verdict{Problems: []string{"no case was run"}},
		},
		"only cases that were left out": {
			"all", skips, []Case{{dns, NotSelected, ""}},
			Verdict{Listed: 1, Problems: []string{"no case was run"}},
		},
		"a failure": {
			"all", `[]`, []Case{{services, Passed, ""}, {dns, Failed, "no answer"}},
			Verdict{Passed: 1, Failed: 1, Problems: []string{"failed: " + dns + ": no answer"}},
		},
		"a failure in the list": {
			"all", runs, []Case{{services, Passed, ""}, {dns, Failed, "no answer"}},
			Verdict{Passed: 1, Failed: 1, Listed: 1},
		},
		"skipped itself": {
			"all", `[]`, []Case{{services, Passed, ""}, {dns, Skipped, "one node"}},
			Verdict{Passed: 1, Skipped: 1, Problems: []string{"skipped: " + dns + ": one node"}},
		},
		"skipped itself, in the list": {
			"all", runs, []Case{{services, Passed, ""}, {dns, Skipped, "one node"}},
			Verdict{Passed: 1, Skipped: 1, Listed: 1},
		},
		"left out": {
			"all", skips, []Case{{services, Passed, ""}, {dns, NotSelected, ""}},
			Verdict{Passed: 1, Listed: 1},
		},
		"not run": {
			"all", runs, []Case{{services, Passed, ""}, {dns, NotSelected, ""}},
			Verdict{Passed: 1, Problems: []string{"not run: " + dns, `stale exception: no case matches "DNS"`}},
		},
		"a listed case passed": {
			"all", runs, []Case{{dns, Passed, ""}},
			Verdict{Passed: 1, Problems: []string{`stale exception "DNS": passed: ` + dns}},
		},
		"a case that was to be left out ran": {
			"all", skips, []Case{{dns, Passed, ""}},
			Verdict{Passed: 1, Problems: []string{`stale exception: no case matches "DNS"`}},
		},
		"an entry without a case": {
			"all", runs, []Case{{services, Passed, ""}},
			Verdict{Passed: 1, Problems: []string{`stale exception: no case matches "DNS"`}},
		},
		"a part of the cases": {
			"conformance", runs, []Case{{services, Passed, ""}, {dns, NotSelected, ""}},
			Verdict{Passed: 1},
		},
		"a part that was not run": {
			"conformance", runs, []Case{{services, NotSelected, ""}},
			Verdict{Problems: []string{"not run: " + services, "no case was run"}},
		},
		"by a pattern": {
			"DNS", `[]`, []Case{{services, NotSelected, ""}, {dns, Passed, ""}},
			Verdict{Passed: 1},
		},
		"the preparation of the suite failed": {
			"conformance", `[]`, []Case{{"[BeforeSuite]", Failed, "no nodes"}, {services, Passed, ""}},
			Verdict{Passed: 1, Failed: 1, Problems: []string{"failed: [BeforeSuite]: no nodes"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			suite, err := SuiteOf(tc.suite)
			if err != nil {
				t.Fatal(err)
			}
			list, err := ParseExceptions([]byte(tc.exceptions))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, Judge(suite, list, tc.cases)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSuiteOf(t *testing.T) {
	if _, err := SuiteOf("("); err == nil {
		t.Error("no error for a pattern that is none")
	}
}
