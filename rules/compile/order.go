// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"slices"
)

// WriteOrder sorts the slices to write so that after each write every endpoint that was in
// a slice before, and is still wanted, is in a slice. held is the number of parts that
// each slice in the API was written for, by name. Slices that are no longer wanted are
// deleted after all writes.
//
// A part holds the endpoints whose hashes begin with certain bits (see partOf). When the
// number of parts grows, the endpoints of part p move to p and higher parts, so the last
// part is written first. When it shrinks, they move to p and lower parts, so the first
// part is written first. After an interrupted change of the number both kinds exist. Then
// the parts of the larger number are written first: the endpoints that only they hold
// belong to no other part.
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
