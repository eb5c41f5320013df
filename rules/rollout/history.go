// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"slices"
)

// Stored is a revision that is kept. The number is the order in which they were asked for.
type Stored struct {
	Name   string
	Number int64
}

// History returns the number that the current revision has to have, the highest, and the
// revisions to delete: the oldest of those that are neither current nor used, beyond the limit.
func History(current string, stored []Stored, used map[string]bool, limit int) (number int64, superfluous []string) {
	var unused []Stored
	var highest, own int64
	for _, s := range stored {
		if s.Name == current {
			own = s.Number
			continue
		}
		highest = max(highest, s.Number)
		if !used[s.Name] {
			unused = append(unused, s)
		}
	}
	slices.SortFunc(unused, func(a, b Stored) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Name, b.Name))
	})
	for _, s := range unused[:max(0, len(unused)-limit)] {
		superfluous = append(superfluous, s.Name)
	}
	if own > highest {
		return own, superfluous
	}
	return highest + 1, superfluous
}
