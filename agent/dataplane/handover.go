// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"context"
	"time"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Handover is what two modes do when one replaces the other, so that connections that
// are open go on. The order is
//
//	new.Incoming(old's kind)    before the new mode's first Sync
//	old.Outgoing(new's kind)    after that, still before it
//	new.Sync                    until it has succeeded; the old mode follows changes
//	old.Released(new's kind)    again and again, until it returns 0
//	old.Cleanup
//
// Each mode owns its times: for how long its connections are waited for, and how often
// they are looked at. What Incoming and Outgoing cannot do costs open connections and
// nothing else: the new mode comes nevertheless.
type Handover interface {
	// Incoming prepares the kernel for the rules of this mode in the place of a mode of
	// some kind. It changes nothing where rules of this mode are already.
	Incoming(ctx context.Context, from Kind) error

	// Outgoing makes connections of this mode known to what comes after it.
	Outgoing(ctx context.Context, to Kind) error

	// Released is called once another mode is in force, with its kind, with what it
	// has programmed, and with the options that this mode would have. It lets go what new connections would meet, and returns after
	// which time to ask again; 0: nothing is left that Cleanup would cut off. It may be
	// the first call that a Dataplane gets, if an agent before this one has left
	// the mode. A Sync puts the mode in force again, and its times begin from anew.
	Released(ctx context.Context, to Kind, desired model.Desired, o Options) (wait time.Duration, err error)
}

// LingerTime is how long the kernel goes on to track, and so to translate, the open
// connections of a mode of NAT, when a Proxy is in force, for which it need not.
const LingerTime = 5 * time.Second

// NoHandover is the Handover of a mode without open connections of its own. It is
// meant to be embedded.
type NoHandover struct{}

// Incoming does nothing.
func (NoHandover) Incoming(context.Context, Kind) error { return nil }

// Outgoing does nothing.
func (NoHandover) Outgoing(context.Context, Kind) error { return nil }

// Released returns that nothing is left.
func (NoHandover) Released(context.Context, Kind, model.Desired, Options) (time.Duration, error) {
	return 0, nil
}
