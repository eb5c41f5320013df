// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dataplane defines the ways to program a kernel: a Mode describes one, and an
// open Dataplane programs a kernel in it. A dataplane renders model.Desired and decides
// nothing about Service semantics.
package dataplane

import (
	"context"
	"errors"
	"time"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// ErrNotSynced is returned by Apply before the first Sync and after an error.
var ErrNotSynced = errors.New("the kernel's state is unknown: Sync is needed first")

// Dataplane programs a node's kernel in one mode. It recognizes its own objects by name
// and never touches others. One goroutine at a time uses it.
type Dataplane interface {
	// Probe says whether this kernel can run the mode with some options: if not, the error
	// says what is missing, and whether permanently (ErrUnsupported). With nil it finds
	// out everything that the kernel supports of the mode, and may load modules for that.
	// It leaves nothing behind, and is not called after Sync.
	Probe(context.Context, Options) (Capability, error)

	// Sync reads the kernel and makes it equal to desired, by diff: correct objects are
	// adopted and not touched. It keeps no reference to the maps of desired. A limitation
	// of the node is no error, see Result.Unsupported. It may leave the reading out when a
	// change waits, see WithReading.
	Sync(ctx context.Context, desired model.Desired, o Options) (Result, error)

	// Apply applies a delta to the state that Sync and Apply have programmed, with the
	// options of the last Sync. Its cost is proportional to the delta. After an error the
	// kernel's state is unknown and the caller must call Sync.
	Apply(ctx context.Context, delta model.Delta) (Result, error)

	// Watch calls changed, from any goroutine and at once, when an external change may
	// concern the programmed objects, or something that they depend on. It returns when
	// ctx ends (nil) or when it cannot watch any more. Unlike the other methods it may run
	// concurrently with them.
	Watch(ctx context.Context, changed func()) error

	// Cleanup removes all objects of the mode from this kernel, also those of another
	// Dataplane, and leaves those that another mode has put in their place. It removes as
	// much as it can, and can be called again.
	Cleanup(context.Context) error

	// Close closes the handle and leaves the kernel as it is.
	Close() error

	Handover
}

// Result is what a Sync or an Apply did, and what is left to do.
type Result struct {
	// Operations is the number of objects (elements, rules, chains, ...) that were added
	// or deleted. 0 after a Sync: the kernel was correct already.
	Operations int

	// Repaired is the part of Operations that undid an external change since the last
	// Sync or Apply; it counts only after the first Sync.
	Repaired int

	// Reading is how long Sync took to read the kernel.
	Reading time.Duration

	// Interrupted says that a change waits, see WithReading, so that Sync has not read all
	// of the kernel that is due. desired is programmed on top of what was known, and
	// external changes are left for the next Sync.
	Interrupted bool

	// NextLook is the time until the mode wants a Sync without a change: the kernel does
	// not notify of some changes, and some work is done in steps. It counts from now, also
	// when an Apply repeats it. 0: at the caller's regular interval.
	NextLook time.Duration

	// Unsupported is every limitation of the node for desired in this mode, sorted by
	// reason; everything else is programmed. A Sync tries it again.
	Unsupported []Limitation
}
