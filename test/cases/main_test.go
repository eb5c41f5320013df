// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-proxy/fairlead/test/cases"
)

// all are the cases of this folder.
var all []cases.Case

// tallies count, by runner, what became of the cases.
var tallies sync.Map

func TestMain(m *testing.M) {
	var err error
	if all, err = cases.Load("."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	for _, runner := range cases.Runners {
		if t, ran := tallies.Load(runner); ran {
			t.(*tally).print(runner)
		}
	}
	os.Exit(code)
}

// tally counts the cases of a runner.
type tally struct {
	passed, failed int
	skipped        []string
}

func (t *tally) print(runner cases.Runner) {
	for _, reason := range t.skipped {
		fmt.Printf("cases %s: skipped %s\n", runner, reason)
	}
	fmt.Printf("cases %s: %d passed, %d failed, %d skipped\n", runner, t.passed, t.failed, len(t.skipped))
}

// runAll runs every case as a subtest. A reason that run returns skips the case.
func runAll(t *testing.T, runner cases.Runner, run func(t *testing.T, c cases.Case) (skip string)) {
	count := &tally{}
	tallies.Store(runner, count)
	for _, c := range all {
		ran, skipped := false, ""
		passed := t.Run(strings.ReplaceAll(c.Title(), " ", "_"), func(t *testing.T) {
			ran = true
			if skipped = c.Skip(runner); skipped == "" {
				skipped = run(t, c)
			}
			if skipped != "" {
				t.Skip(skipped)
			}
		})
		switch {
		case !ran: // left out by -run
		case !passed:
			count.failed++
		case skipped != "":
			count.skipped = append(count.skipped, c.Title()+": "+skipped)
		default:
			count.passed++
		}
	}
}
