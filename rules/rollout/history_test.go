// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHistory(t *testing.T) {
	// stored are the revisions in the order of their numbers, from 1.
	for name, c := range map[string]struct {
		current, stored, used string
		limit                 int
		number                int64
		superfluous           string
	}{
		"the first":                    {"a", "", "", 10, 1, ""},
		"there already":                {"a", "a", "", 10, 1, ""},
		"a change":                     {"b", "a", "", 10, 2, ""},
		"back to an earlier one":       {"a", "a b", "", 10, 3, ""},
		"back, and there already":      {"a", "b a", "", 10, 2, ""},
		"within the limit":             {"d", "a b c", "", 3, 4, ""},
		"the oldest go":                {"e", "a b c d", "", 2, 5, "a b"},
		"what nodes have stays":        {"e", "a b c d", "a", 2, 5, "b"},
		"what nodes have counts not":   {"e", "a b c d", "a b", 2, 5, ""},
		"no history":                   {"c", "a b c", "", 0, 3, "a b"},
		"no history, in use":           {"c", "a b c", "a", 0, 3, "b"},
		"the current one is the first": {"a", "a b c d", "", 1, 5, "b c"},
		"use of others":                {"b", "a b", "x y", 0, 2, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			var stored []Stored
			for i, name := range strings.Fields(c.stored) {
				stored = append(stored, Stored{Name: name, Number: int64(i + 1)})
			}
			used := map[string]bool{"": true}
			for _, name := range strings.Fields(c.used) {
				used[name] = true
			}
			slices.Reverse(stored) // their order says nothing
			number, superfluous := History(c.current, stored, used, c.limit)
			if number != c.number {
				t.Errorf("number %d, want %d", number, c.number)
			}
			if diff := cmp.Diff(c.superfluous, strings.Join(superfluous, " ")); diff != "" {
				t.Errorf("superfluous (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHistoryOfEqualNumbers checks that the current one is the only one with the highest number.
func TestHistoryOfEqualNumbers(t *testing.T) {
	number, superfluous := History("b", []Stored{{"b", 4}, {"c", 4}, {"a", 4}}, nil, 1)
	if number != 5 || !slices.Equal(superfluous, []string{"a"}) {
		t.Errorf("number %d, superfluous %v", number, superfluous)
	}
}
