// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dataplane is what the agent knows of the ways to program a kernel:
// one small interface, implemented once for each mode. A dataplane renders
// model.Desired and decides nothing about Service semantics.
package dataplane

import (
	"context"
	"errors"
	"time"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// ErrNotSynced is what Apply returns before the first Sync and after an error.
var ErrNotSynced = errors.New("the kernel's state is unknown: Sync is needed first")

// Dataplane programs a node's kernel. It owns what it makes by name and never
// touches anything else. It is used by one goroutine at a time.
type Dataplane interface {
	// Mode is the mode that the dataplane implements.
	Mode() v1alpha1.ProxyMode

	// Probe says whether this kernel can run the mode; the error says what is
	// missing. It leaves nothing behind.
	Probe(ctx context.Context) error

	// Sync reads what the kernel holds and makes it equal to desired, by diff:
	// what is right already is adopted and not touched. It keeps no reference to
	// the maps of desired.
	Sync(ctx context.Context, desired model.Desired) (Stats, error)

	// Apply changes the kernel by a delta, on top of what Sync and Apply have
	// programmed before. Its cost is proportional to the delta. After an error
	// the kernel's state is unknown and the caller must call Sync.
	Apply(ctx context.Context, delta model.Delta) (Stats, error)

	// Watch calls changed, from any goroutine and at once, when somebody else may
	// have changed what was programmed, or something that it depends on. It
	// returns when ctx ends (nil) or when it cannot watch any more. Unlike the
	// other methods it may run beside them.
	Watch(ctx context.Context, changed func()) error

	// Cleanup removes everything the dataplane ever made in this kernel, and leaves
	// what another mode has put in the place of it.
	Cleanup(ctx context.Context) error

	// Close frees the handle and leaves the kernel as it is.
	Close() error
}

// SchedulerProber is a Dataplane whose kernel has several ways to choose an
// endpoint, of which this one may lack some.
type SchedulerProber interface {
	Dataplane

	// ProbeSchedulers returns which of some schedulers this kernel has; with no
	// names, which of all that the API knows. It leaves nothing behind.
	ProbeSchedulers(ctx context.Context, names ...string) ([]string, error)
}

// Variant is a Dataplane with several ways to program the same, of which a node uses
// one.
type Variant interface {
	Dataplane

	// Variant names the one that Probe has found, with its version.
	Variant() string
}

// Retirer is a Dataplane whose connections would end with its rules. Others leave
// theirs to the kernel's connection tracking.
type Retirer interface {
	Dataplane

	// Retire is called now and then after another mode has taken over the new
	// connections, with what that one is programmed with, and says whether nothing
	// is left that Cleanup would cut.
	Retire(ctx context.Context, desired model.Desired) (idle bool, err error)
}

// Tracker is a Dataplane whose rules have the kernel track connections, which it does
// only for who asks for it.
type Tracker interface {
	Dataplane

	// Track is called before the first Sync in the place of a Yielder, before that one
	// yields. From then on the kernel tracks connections and translates none: so the
	// rules to come leave alone what has begun before them. It changes nothing where
	// there are rules already.
	Track(ctx context.Context) error
}

// Lingerer is a Dataplane whose connections the kernel translates, which it does only
// while it tracks connections.
type Lingerer interface {
	Dataplane

	// Linger is called a moment before Cleanup when a Yielder has taken over. It takes
	// all rules away, and leaves what lets the connections go on that are open.
	Linger(ctx context.Context) error
}

// Yielder is a Dataplane that opens connections itself. It meets only what the rules
// of no other mode take first: so those go as soon as it is programmed, and with them,
// at once or after a moment, the connections that need them. Connection tracking has
// nothing of its own.
type Yielder interface {
	Dataplane

	// Yield is called before another mode is programmed, whose rules must leave the
	// open connections alone.
	Yield(ctx context.Context) error
}

// Stats is what a Sync or an Apply did.
type Stats struct {
	// Operations is the number of objects (elements, rules, chains, ...) that
	// were added or deleted. 0 after a Sync: the kernel was right already.
	Operations int

	// Repaired is the part of Operations that undid what somebody else had done
	// since the last Sync or Apply; it counts only after the first Sync.
	Repaired int

	// Reading is how long it took a Sync to find out what the kernel holds.
	Reading time.Duration

	// Lacking says what of desired this node cannot do, and why; all else is
	// programmed. It is tried again with the next Sync.
	Lacking error
}
