// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"slices"
)

// WriteOrder sorts the slices that are to be written so that after each write every
// endpoint that was in some slice before, and still is wanted, is in some slice. held
// has the number of parts that each slice in the API was written for, by name. Slices
// that are not wanted any more are deleted after all writes.
//
// A part holds the endpoints whose hashes begin with certain bits (see partOf). Where
// there will be more parts, what part p held belongs to parts p and up: the last one
// is written first. Where there will be fewer, it belongs to parts up to p: the first
// one is written first. After a change of the number that was interrupted there are
// both; then the parts of the larger number come first: what they hold alone does not
// belong to any of the others.
func WriteOrder(writes []Slice, held map[string]int32) {
	shrinks := func(s *Slice) bool { return held[s.Name] > s.Spec.Parts }
	slices.SortFunc(writes, func(a, b Slice) int {
		switch first, second := shrinks(&a), shrinks(&b); {
		case first && second:
			return cmp.Compare(a.Spec.Part, b.Spec.Part)
		case first:
			return -1
		case second:
			return 1
		}
		return cmp.Compare(b.Spec.Part, a.Spec.Part)
	})
}
