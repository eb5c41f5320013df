// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"context"
	"time"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Handover lets open connections go on when one mode replaces another. The order is
//
//	new.Incoming(old's kind)    before the new mode's first Sync
//	old.Outgoing(new's kind)    after that, still before it
//	new.Sync                    until it has succeeded; the old mode follows changes
//	old.Released(new's kind)    again and again, until it returns 0
//	old.Cleanup
//
// Each mode decides how long its connections are waited for, and how often they are
// checked. A failure of Incoming and Outgoing costs open connections and nothing else: the
// new mode is used nevertheless.
type Handover interface {
	// Incoming prepares the kernel for the rules of this mode, which replaces a mode of
	// some kind. It changes nothing if rules of this mode exist already.
	Incoming(ctx context.Context, from Kind) error

	// Outgoing makes connections of this mode known to the mode that replaces it.
	Outgoing(ctx context.Context, to Kind) error

	// Released is called when another mode is active, with its kind, with what it has
	// programmed, and with the options that this mode would have. It removes what new
	// connections would reach, and returns the time until the next call; 0: Cleanup would
	// cut off nothing any more. It may be the first call of a Dataplane, if a previous
	// agent has left the mode. A Sync makes the mode active again and resets its times.
	Released(ctx context.Context, to Kind, desired model.Desired, o Options) (wait time.Duration, err error)
}

// Heir is a Dataplane that recognizes what a mode of kube-proxy leaves, see Mode.Inherits.
type Heir interface {
	// Inherit says, while the mode is active, that the kube-proxy is gone: what it has left is the mode's
	// own for the next Sync, which reads all of the kernel, and is removed as that is.
	Inherit()
}

// TrackingTime is how long the kernel still tracks, and so translates, the open connections
// of a NAT mode when a Proxy is active, which itself needs no tracking.
const TrackingTime = 5 * time.Second

// NoHandover is the Handover of a mode without open connections of its own. Embed it.
type NoHandover struct{}

// Incoming does nothing.
func (NoHandover) Incoming(context.Context, Kind) error { return nil }

// Outgoing does nothing.
func (NoHandover) Outgoing(context.Context, Kind) error { return nil }

// Released returns 0.
func (NoHandover) Released(context.Context, Kind, model.Desired, Options) (time.Duration, error) {
	return 0, nil
}
