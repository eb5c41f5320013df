// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dataplane is what the agent knows of the ways to program a kernel: a Mode
// says what it is, a Dataplane is one that is open. A dataplane renders model.Desired
// and decides nothing about Service semantics.
package dataplane

import (
	"context"
	"errors"
	"time"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// ErrNotSynced is what Apply returns before the first Sync and after an error.
var ErrNotSynced = errors.New("the kernel's state is unknown: Sync is needed first")

// Dataplane programs a node's kernel in one mode. It owns what it makes by name and
// never touches anything else. It is used by one goroutine at a time.
type Dataplane interface {
	// Probe says whether this kernel can run the mode with some options: if not, the
	// error says what is missing, and whether for good (ErrUnsupported). With nil it
	// finds out all that the kernel can do of the mode, for which it may have to load
	// modules. It leaves nothing behind, and is not called after Sync.
	Probe(context.Context, Options) (Capability, error)

	// Sync reads what the kernel holds and makes it equal to desired, by diff:
	// what is right already is adopted and not touched. It keeps no reference to
	// the maps of desired. What the node cannot do of it is no error, see
	// Result.Unsupported.
	Sync(ctx context.Context, desired model.Desired, o Options) (Result, error)

	// Apply changes the kernel by a delta, on top of what Sync and Apply have
	// programmed before, with the options of the last Sync. Its cost is proportional
	// to the delta. After an error the kernel's state is unknown and the caller must
	// call Sync.
	Apply(ctx context.Context, delta model.Delta) (Result, error)

	// Watch calls changed, from any goroutine and at once, when something external may
	// have changed what was programmed, or something that it depends on. It
	// returns when ctx ends (nil) or when it cannot watch any more. Unlike the
	// other methods it may run beside them.
	Watch(ctx context.Context, changed func()) error

	// Cleanup removes everything the mode ever made in this kernel, also by another
	// Dataplane, and leaves what another mode has put in the place of it. It removes
	// as much as it can, and can be called again.
	Cleanup(context.Context) error

	// Close frees the handle and leaves the kernel as it is.
	Close() error

	Handover
}

// Result is what a Sync or an Apply did, and what is left to do.
type Result struct {
	// Operations is the number of objects (elements, rules, chains, ...) that
	// were added or deleted. 0 after a Sync: the kernel was right already.
	Operations int

	// Repaired is the part of Operations that undid an external change since the last
	// Sync or Apply; it counts only after the first Sync.
	Repaired int

	// Reading is how long it took a Sync to find out what the kernel holds.
	Reading time.Duration

	// NextLook is after which time the mode wants a Sync although nothing changes: the
	// kernel does not notify of some things, and some are done step by step. It counts
	// from now, also when an Apply repeats it. 0: whenever the caller looks regularly.
	NextLook time.Duration

	// Unsupported is everything of desired that this node cannot do in this mode, in
	// the order of the reasons; all else is programmed. A Sync tries it again.
	Unsupported []Limitation
}
