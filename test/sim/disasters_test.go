// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"testing"
	"time"
)

// TestDisasters runs each event of several faults in a cluster in which nothing has changed for
// long, so that the oracle knows what must not be lost.
func TestDisasters(t *testing.T) {
	const s = time.Second
	for name, disasters := range map[string][]event{
		"an agent ends after it has programmed, and the next one does not reach the apiserver": {{do: crashAlone, a: 1, b: 2}},
		"a node boots, and its agent does not reach the apiserver":                             {{do: rebootNode, a: 1, b: 3, d: 2 * s}},
		"an agent without a journal starts": {
			{do: startBlind, b: 0, d: 10 * s}, // no slice
			{do: startBlind, b: 1, d: 10 * s}, // only that of the apiserver's Service
			{do: startBlind, b: 2, d: 10 * s}, // all but that
			{do: startBlind, b: 8, d: 10 * s}, // one was edited
		},
		"a kernel fails": {{do: breakKernel, a: 1}},
		"a controller has a bug": {
			{do: goRogue, b: 0}, // slices are empty
			{do: goRogue, b: 1}, // slices are deleted
		},
	} {
		for i, e := range disasters {
			t.Run(fmt.Sprint(name, i), func(t *testing.T) {
				t.Parallel()
				events := []event{{do: addService, b: 3}, {do: addService, a: 1, b: 6}, {do: growService}, {do: calm}, e, {do: advance, d: 12 * s}, {do: calm}}
				if r := runEvents(t, events); r.err != nil {
					t.Errorf("step %d: %v", r.steps, r.err)
				}
			})
		}
	}
}
