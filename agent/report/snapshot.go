// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package report says what the engine has done: in the NodeRuleSet's status, in events
// and in the log.
//
//	Snapshot -> conditions -> Writer -> API
package report

import (
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// Snapshot is what the loop knows after a step; the status is made of it.
type Snapshot struct {
	Node     *source.NodeRules // the newest
	NodeGone bool
	FromAPI  bool

	// What is programmed; running is nil before the first time.
	Running *source.NodeRules
	Mode    v1alpha1.ProxyMode
	Digest  uint64
	Slices  int
	Counts  resolve.Counts

	Unsupported error // no dataplane can run what the policy asks for
	Skipped     error // what the modes lack that come before the one in force
	Settings    error // malformed parameters in the NodeRuleSet
	Malformed   []error
	Programming error                  // the last programming failed
	Attempted   v1alpha1.ProxyMode     // by the last programming
	Limitations []dataplane.Limitation // what it left out, for the node cannot do it
	Storing     error                  // the checkpoint cannot be written
	Retiring    error                  // what another mode has left cannot be removed
	Forgetting  error                  // stale entries of connection tracking cannot be deleted
	Tuning      error                  // nor can its parameters be set
	Queued      time.Time              // when the oldest change of this step came
	Programmed  time.Time
	Duration    time.Duration
	Stats       dataplane.Result
	Synced      bool        // by Sync rather than Apply
	Measured    []time.Time // when the changes began that this step programmed

	Capabilities []v1alpha1.ModeCapability

	Repairs    int64 // steps that found others' changes
	LastRepair time.Time
}
