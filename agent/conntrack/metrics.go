// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Metrics count what the clean-up does.
type Metrics interface {
	// LookedForStaleFlows counts a pass over the entries of a family: how long it took, and
	// how many entries it deleted.
	LookedForStaleFlows(family corev1.IPFamily, took time.Duration, deleted int)
}
