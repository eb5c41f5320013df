// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package upstream runs the end-to-end tests of Kubernetes' own SIG Network
// against Fairlead, and against kube-proxy as the oracle, on the lab.
// `make test-upstream` builds what it needs; docs/upstream.md says what it shows.
package upstream

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// Outcome is how a case ended.
type Outcome string

// The outcomes of a case. One that was not selected was not run; one that was
// skipped has found that it cannot run here.
const (
	Passed      Outcome = "passed"
	Failed      Outcome = "failed"
	Skipped     Outcome = "skipped"
	NotSelected Outcome = "not selected"
)

// Case is one case of a report.
type Case struct {
	Name    string
	Outcome Outcome
	// Message says why it failed or was skipped, in one line.
	Message string
}

// ours is how the names of SIG Network's cases begin.
const ours = "[sig-network] "

// junit is what is used of a report in JUnit's format.
type junit struct {
	Cases []struct {
		Name    string `xml:"name,attr"`
		Status  string `xml:"status,attr"`
		Skipped *struct {
			Message string `xml:"message,attr"`
		} `xml:"skipped"`
		Failure string `xml:"failure"`
		Error   string `xml:"error"`
	} `xml:"testsuite>testcase"`
}

// ReadReport reads the report that e2e.test writes into --report-dir: the cases of
// SIG Network, and those parts of the suite (such as its preparation) that failed.
func ReadReport(r io.Reader) ([]Case, error) {
	var report junit
	if err := xml.NewDecoder(r).Decode(&report); err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	var cases []Case
	for _, reported := range report.Cases {
		name, isCase := strings.CutPrefix(reported.Name, "[It] ")
		c := Case{Name: name, Outcome: Failed}
		switch reported.Status {
		case "passed":
			c.Outcome = Passed
		case "skipped", "pending":
			c.Outcome = NotSelected
			if reported.Skipped == nil {
				break
			}
			// Ginkgo adds a reason only if the case itself has given one.
			if reason, ok := strings.CutPrefix(reported.Skipped.Message, "skipped - "); ok {
				c.Outcome, c.Message = Skipped, firstLine(reason)
			}
		default:
			// Ended by a failure, a panic, a time limit or an interruption.
			c.Message = firstLine(reported.Failure + reported.Error)
			if c.Message == "" {
				c.Message = reported.Status
			}
		}
		if isCase && strings.HasPrefix(name, ours) || !isCase && c.Outcome == Failed {
			cases = append(cases, c)
		}
	}
	return cases, nil
}

// firstLine returns the first line that says something.
func firstLine(text string) string {
	for line := range strings.Lines(text) {
		// Ginkgo begins a failure with a line that has only the state in brackets.
		line = strings.TrimPrefix(strings.TrimSpace(line), "[FAILED] ")
		state := strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]")
		if line != "" && !state {
			return line
		}
	}
	return ""
}
