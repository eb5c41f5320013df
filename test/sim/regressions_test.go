// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"
	"time"
)

// TestRegressions runs lists of events that have failed, by what was wrong. That a refused
// list of slices left its watch open was found by each list: the bubble did not end.
func TestRegressions(t *testing.T) {
	const s = time.Second
	for name, events := range map[string][]event{
		"the disk is full since the boot, and the journal of an earlier boot was used": {
			{do: rebootNode, a: 2, b: 364, d: 13 * s},
			{do: advance, d: 8 * s},
			{do: fillDisk, a: 2},
			{do: advance, d: 6 * s},
			{do: killAgent, a: 2, d: 19 * s},
			{do: calm},
		},
		"a slice was created and deleted while the watch was broken, and not written again": {
			{do: addService, b: 3},
			{do: calm},
			{do: dropCRD, d: 20 * s},
			{do: advance, d: 21 * s},
			{do: deleteSlices},
			{do: advance, d: s},
			{do: deleteSlices},
			{do: advance, d: 2 * s},
			{do: deleteSlices},
			{do: calm},
		},
		"an agent without a journal refused a slice, and removed its Service": {
			{do: addService, b: 3},
			{do: calm},
			{do: advance, d: 200 * s},
			{do: pauseLeader, d: 20 * s},
			{do: killAgentTorn, a: 2, d: 5 * s},
			{do: foreignSlice, a: 1, b: 1},
			{do: advance, d: 7 * s},
			{do: calm},
		},
		"slices that an older schema had pruned stayed so after its upgrade": {
			{do: addService, b: 3},
			{do: calm},
			{do: oldSchema},
			{do: advance, d: 2 * s},
			{do: setLocal},
			{do: advance, d: 9 * s},
			{do: calm},
		},
		"a digest meant slices that an older schema had pruned, and the kernel had whole ones": {
			{do: addService, b: 3},
			{do: calm},
			{do: oldSchema},
			{do: advance, d: 2 * s},
			{do: setLocal},
			{do: advance, d: 9 * s},
			{do: addService, a: 1, b: 6},
			{do: calm},
			{do: startBlind, a: 2, d: 20 * s},
			{do: setOther, a: 1},
			{do: advance, d: 10 * s},
			{do: advance, d: 70 * s},
			{do: calm},
		},
		"a journal lost its last record, and nothing of another": {
			{do: killAgentTorn, a: 2, b: 423, d: 5 * s}, // that record has 424 bytes
			{do: calm},
		},
		"an agent that did not know that it had programmed noted more, and the next one programmed that": {
			{do: killAgent, a: 1, b: 1, d: 10 * s},
			{do: failKernel, a: 1, b: int(failAfter)},
			{do: advance, d: 10*s + 20*time.Millisecond},
			{do: addService, b: 3},
			{do: killAgent, a: 1, b: 3, d: 5 * s},
			{do: advance, d: 7 * s},
			{do: calm},
		},
		"another program removed rules while an agent programmed, and the next one repaired them": {
			{do: addService, b: 3},
			{do: calm},
			{do: failKernel, a: 1, b: int(stall)},
			{do: addPod},
			{do: advance, d: 20 * time.Millisecond},
			{do: driftKernel, a: 1, b: 2},
			{do: advance, d: 3 * s},
			{do: crashAlone, a: 1},
			{do: calm},
		},
		"a disk was full for long, and the journal not written for as long after it": {
			{do: addService, b: 3},
			{do: calm},
			{do: fillDisk, a: 1},
			{do: addPod},
			{do: advance, d: 320 * s},
			{do: calm},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 5 { // what goroutines do concurrently is not determined
				if r := runEvents(t, events); r.err != nil {
					t.Fatalf("step %d: %v", r.steps, r.err)
				}
			}
		})
	}
}
