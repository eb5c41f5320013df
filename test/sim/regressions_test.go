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
	for name, events := range regressions {
		t.Run(name, func(t *testing.T) {
			for range 5 { // what goroutines do concurrently is not determined
				if r := runEvents(t, events); r.err != nil {
					t.Fatalf("step %d: %v", r.steps, r.err)
				}
			}
		})
	}
}

// regressions are by what was wrong.
var regressions = map[string][]event{
	"the disk is full since the boot, and the journal of an earlier boot was used": {
		{do: rebootNode, a: 2, b: 364, d: 13 * time.Second},
		{do: advance, d: 8 * time.Second},
		{do: fillDisk, a: 2},
		{do: advance, d: 6 * time.Second},
		{do: killAgent, a: 2, d: 19 * time.Second},
		{do: calm},
	},
	"a slice was created and deleted while the watch was broken, and not written again": {
		{do: addService, b: 3},
		{do: calm},
		{do: dropCRD, d: 20 * time.Second},
		{do: advance, d: 21 * time.Second},
		{do: deleteSlices},
		{do: advance, d: time.Second},
		{do: deleteSlices},
		{do: advance, d: 2 * time.Second},
		{do: deleteSlices},
		{do: calm},
	},
	"an agent without a journal refused a slice, and removed its Service": {
		{do: addService, b: 3},
		{do: calm},
		{do: advance, d: 200 * time.Second},
		{do: pauseLeader, d: 20 * time.Second},
		{do: killAgentTorn, a: 2, d: 5 * time.Second},
		{do: foreignSlice, a: 1, b: 1},
		{do: advance, d: 7 * time.Second},
		{do: calm},
	},
	"slices that an older schema had pruned stayed so after its upgrade": {
		{do: addService, b: 3},
		{do: calm},
		{do: oldSchema},
		{do: advance, d: 2 * time.Second},
		{do: setLocal},
		{do: advance, d: 9 * time.Second},
		{do: calm},
	},
	"a digest meant slices that an older schema had pruned, and the kernel had whole ones": {
		{do: addService, b: 3},
		{do: calm},
		{do: oldSchema},
		{do: advance, d: 2 * time.Second},
		{do: setLocal},
		{do: advance, d: 9 * time.Second},
		{do: addService, a: 1, b: 6},
		{do: calm},
		{do: startBlind, a: 2, d: 20 * time.Second},
		{do: setOther, a: 1},
		{do: advance, d: 10 * time.Second},
		{do: advance, d: 70 * time.Second},
		{do: calm},
	},
	"a journal lost its last record, and nothing of another": {
		{do: killAgentTorn, a: 2, b: 423, d: 5 * time.Second}, // that record has 424 bytes
		{do: calm},
	},
	"an agent that did not know that it had programmed noted more, and the next one programmed that": {
		{do: killAgent, a: 1, b: 1, d: 10 * time.Second},
		{do: failKernel, a: 1, b: int(failAfter)},
		{do: advance, d: 10*time.Second + 20*time.Millisecond},
		{do: addService, b: 3},
		{do: killAgent, a: 1, b: 3, d: 5 * time.Second},
		{do: advance, d: 7 * time.Second},
		{do: calm},
	},
	"another program removed rules while an agent programmed, and the next one repaired them": {
		{do: addService, b: 3},
		{do: calm},
		{do: failKernel, a: 1, b: int(stall)},
		{do: addPod},
		{do: advance, d: 20 * time.Millisecond},
		{do: driftKernel, a: 1, b: 2},
		{do: advance, d: 3 * time.Second},
		{do: crashAlone, a: 1},
		{do: calm},
	},
	"a disk was full for long, and the journal not written for as long after it": {
		{do: addService, b: 3},
		{do: calm},
		{do: fillDisk, a: 1},
		{do: addPod},
		{do: advance, d: 320 * time.Second},
		{do: calm},
	},
	"two replicas led for a moment, of which one saw Services late, and time did not go on": {
		{do: addService, b: 3},
		{do: addService, a: 1, b: 6},
		{do: calm},
		{do: lag, a: nodeCount, b: 1, d: 20 * time.Second}, // of Services
		{do: moveService},
		{do: removeService, a: 1},
		{do: deleteLease},
		{do: advance, d: 5 * time.Second},
		{do: deleteLease},
		{do: advance, d: 5 * time.Second},
		{do: deleteLease},
		{do: advance, d: 5 * time.Second},
		{do: calm},
	},
}
