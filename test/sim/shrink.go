// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import "slices"

// shrink returns a short list of events, of those given, that still fails. It tries at most
// so many lists.
func shrink(events []event, tries int, fails func([]event) bool) []event {
	for size := len(events) / 2; size > 0; size /= 2 {
		for from := 0; from+size <= len(events); {
			if tries--; tries < 0 {
				return events
			}
			shorter := slices.Concat(events[:from], events[from+size:])
			if fails(shorter) {
				events = shorter
			} else {
				from += size
			}
		}
	}
	return events
}
