// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Result is what a mutant's suite showed.
type Result struct {
	Mutant
	FoundBy  string // the first test that failed, at its deepest; empty: the suite has missed the bug
	Err      error  // the mutant itself is wrong; nil: found or missed
	Duration time.Duration
}

// Verdict is "found", "missed" or "error".
func (r *Result) Verdict() string {
	switch {
	case r.Err != nil:
		return "error"
	case r.FoundBy == "":
		return "missed"
	}
	return "found"
}

// Runner runs mutants.
type Runner struct {
	Root     string // of the repository, absolute
	verified map[Suite]error
}

// Run plants one bug and runs its suite, which must pass without the bug.
func (r *Runner) Run(ctx context.Context, m Mutant) Result {
	result := Result{Mutant: m}
	replaced, err := m.Apply(r.Root)
	if err == nil {
		err = r.verify(ctx, m.Suite)
	}
	start := time.Now()
	var out outcome
	if err == nil {
		out, err = m.Suite.run(ctx, r.Root, replaced)
	}
	result.Err, result.Duration = err, time.Since(start)
	for _, test := range out.failed {
		if result.FoundBy == "" || strings.HasPrefix(test, result.FoundBy+"/") {
			result.FoundBy = test
		}
	}
	return result
}

// verify runs a suite without a bug, once.
func (r *Runner) verify(ctx context.Context, s Suite) error {
	if err, known := r.verified[s]; known {
		return err
	}
	out, err := s.run(ctx, r.Root, nil)
	switch {
	case err != nil:
	case len(out.failed) > 0:
		err = fmt.Errorf("the suite fails without the bug: %s", strings.Join(out.failed, ", "))
	case len(out.passed) == 0:
		err = errors.New("no test of the suite runs here")
	}
	if r.verified == nil {
		r.verified = map[Suite]error{}
	}
	r.verified[s] = err
	return err
}
