// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Syncing says since when a Sync of any mode runs, at any time.
type Syncing struct{ since atomic.Int64 } // in nanoseconds of Unix time; 0: none runs

// Since returns zero if no Sync runs.
func (s *Syncing) Since() time.Time {
	if since := s.since.Load(); since != 0 {
		return time.Unix(0, since)
	}
	return time.Time{}
}

// Sync is the dataplane's, and known while it runs.
func (o *openMode) Sync(ctx context.Context, desired model.Desired, options dataplane.Options) (dataplane.Result, error) {
	o.syncing.since.Store(o.clock.Now().UnixNano())
	defer o.syncing.since.Store(0)
	return o.Dataplane.Sync(ctx, desired, options)
}
