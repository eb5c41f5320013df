// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/backoff"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

const (
	// releaseMin is the time from the beginning of a hold to the first check. By then a
	// controller has restored a slice that was deleted by mistake, mostly.
	releaseMin = time.Second

	// releaseMax is the longest time between checks. All nodes check, so the pauses
	// grow, and have jitter.
	releaseMax    = 30 * time.Second
	releaseJitter = 1

	// releaseBatch is the number of Services that are checked at once. Of those whose slices
	// are held on, releaseRefuted are enough: more would say the same.
	releaseBatch   = 100
	releaseRefuted = 10
)

// Release looks for evidence about what is held, and releases what has some, until ctx ends.
func Release(ctx context.Context, in *Store, evidence Evidence, clk clock.Clock) {
	pause := backoff.Backoff{Min: releaseMin, Max: releaseMax, Jitter: releaseJitter}
	for {
		select {
		case <-ctx.Done():
			return
		case <-in.holds.begun:
		}
		for wait := pause.Next(); wait > 0; {
			select {
			case <-ctx.Done():
				return
			case <-in.holds.begun:
				// A new hold does not wait for those that are checked rarely by now.
				pause.Reset()
				wait = min(wait, pause.Next())
				continue
			case <-clk.After(wait):
			}
			switch done, left := release(ctx, in, evidence); {
			case !left:
				wait = 0
			case done:
				wait = 1
			default:
				wait = pause.Next()
			}
		}
		pause.Reset()
	}
}

var errNoApiserverService = errors.New("the apiserver does not have the Service default/kubernetes, so what else is not there says nothing")

// release checks one batch. done: all that was checked is released; left: there is more.
func release(ctx context.Context, in *Store, evidence Evidence) (done, left bool) {
	batch := heldServices(in, releaseBatch)
	if len(batch) == 0 {
		return true, false
	}
	known, err := evidence(ctx, model.APIServerService)
	if err == nil && len(known.Families) == 0 {
		err = errNoApiserverService
	}
	refuted := 0
	for _, s := range batch {
		wanted, reason := model.Wanted{}, err
		if reason == nil {
			wanted, reason = evidence(ctx, s.name)
		}
		if ctx.Err() != nil {
			return false, true
		}
		if judge(in, s, wanted, reason) {
			continue
		}
		if refuted++; refuted == releaseRefuted {
			break
		}
	}
	left = len(heldServices(in, 1)) > 0
	logr.FromContextOrDiscard(ctx).V(1).Info("Checked held rules against the apiserver", "services", len(batch), "heldOn", refuted)
	return refuted == 0, left
}
