// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"os"
	"strconv"
	"time"
)

// How long things are waited for. On an emulated processor (hack/vm) everything
// takes longer.
var (
	slowness = readSlowness()
	// patience is how long a client waits for an answer that should come, impatience
	// for one that should not.
	patience   = slowness * 30 * time.Second
	impatience = slowness * 250 * time.Millisecond
	// longest is how long something may take that is surely wrong if it takes longer.
	longest = slowness * time.Minute
	// repeat is after which time a client repeats over an open connection what has no answer.
	repeat = slowness * time.Second
)

// readSlowness reads how many times slower this machine is than one that runs
// nothing else.
func readSlowness() time.Duration {
	if n, err := strconv.Atoi(os.Getenv("FAIRLEAD_SLOWNESS")); err == nil && n > 0 {
		return time.Duration(n)
	}
	return 1
}
