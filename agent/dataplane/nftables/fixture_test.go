// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
)

var (
	forwardTo = desiredtest.ForwardTo
	clusterIP = desiredtest.ClusterIP
	put       = desiredtest.Put
	restrict  = desiredtest.Restrict
	stick     = desiredtest.Stick
	several   = desiredtest.Several
	mixed     = desiredtest.Mixed
	mustSync  = desiredtest.Sync
	mustApply = desiredtest.Apply

	rejected = desiredtest.Rejected
	dropped  = desiredtest.Dropped
)

// generation counts the commits to the namespace's ruleset.
func (d *Dataplane) generation(t testing.TB) uint32 {
	t.Helper()
	n, err := d.nft.Commits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}
