// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Whatever the number of parts becomes, and wherever writing is interrupted: no endpoint
// is missing at any moment.
func TestWriteOrder(t *testing.T) {
	const endpoints = 40
	in := Input(Web(), Many(WebSlice(), endpoints))
	powers := []int32{1, 2, 4, 8, 16}
	compiled := map[int32][]v1alpha1.ServiceRuleSliceSpec{}
	for _, n := range powers {
		compiled[n] = compile.Parts(in, n)
	}
	EverySeed(t, 300, func(t *testing.T, r *Random) {
		stored := map[string]v1alpha1.ServiceRuleSliceSpec{}
		// The first writes create the slices; after that no endpoint may be missing.
		for change := range 4 {
			n := Pick(r, powers...)
			var writes []compile.Slice
			held := map[string]int32{}
			for name, s := range stored {
				held[name] = s.Parts
			}
			for i, spec := range compiled[n] {
				name := model.SliceName(model.ServiceOf(&spec), int32(i))
				if s, there := stored[name]; !there || s.Parts != n {
					writes = append(writes, compile.Slice{Name: name, Spec: spec})
				}
			}
			Shuffle(r, writes)
			compile.WriteOrder(writes, held)
			stop := len(writes)
			if change > 0 && r.Chance(70) {
				stop = r.IntN(len(writes) + 1)
			}
			for i, w := range writes[:stop] {
				if stored[w.Name] = w.Spec; change > 0 {
					if got := distinct(stored); got != endpoints {
						t.Fatalf("change %d to %d parts, after write %d of %d (part %d): %d of %d endpoints", change, n, i, len(writes), w.Spec.Part, got, endpoints)
					}
				}
			}
			if stop < len(writes) {
				continue // interrupted
			}
			for name, s := range stored {
				if s.Parts != n {
					delete(stored, name)
				}
			}
			if got := distinct(stored); got != endpoints {
				t.Fatalf("change %d to %d parts, written: %d of %d endpoints", change, n, got, endpoints)
			}
		}
	})
}

func distinct(stored map[string]v1alpha1.ServiceRuleSliceSpec) int {
	found := map[string]struct{}{}
	for _, s := range stored {
		for _, e := range s.Endpoints {
			found[e.Address] = struct{}{}
		}
	}
	return len(found)
}

// TestWriteOrderOfBoth checks which parts come first after an interrupted change of their number.
func TestWriteOrderOfBoth(t *testing.T) {
	held := map[string]int32{"grows 2": 2, "grows 3": 2, "shrinks 0": 8, "shrinks 1": 8}
	want := []string{"shrinks 0", "shrinks 1", "grows 3", "grows 2"}
	EverySeed(t, 30, func(t *testing.T, r *Random) {
		var writes []compile.Slice
		for i, name := range []string{"shrinks 0", "shrinks 1", "grows 2", "grows 3"} {
			writes = append(writes, compile.Slice{Name: name, Spec: v1alpha1.ServiceRuleSliceSpec{Part: int32(i), Parts: 4}})
		}
		Shuffle(r, writes)
		compile.WriteOrder(writes, held)
		var got []string
		for _, w := range writes {
			got = append(got, w.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("order (-want +got):\n%s", diff)
		}
	})
}
