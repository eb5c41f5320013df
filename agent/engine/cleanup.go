// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// cleanupInterval is after which time a clean-up that failed is tried again.
const cleanupInterval = 2 * time.Second

// cleanUp removes what previous modes have left, once the active one is programmed. A
// mode whose connections would end with it says when to ask again.
func (l *Loop) cleanUp(ctx context.Context) {
	if l.dp == nil || l.problems[report.KernelError] != nil {
		return
	}
	others := l.installed.Others(l.dp.Mode())
	errs := []error{l.installed.Retry()}
	for _, mode := range others {
		if l.candidate != nil && l.candidate.Mode() == mode || l.kubeProxy.shares(l.modes.byName(mode)) {
			continue
		}
		wait, err := l.cleanUpMode(ctx, mode, func(old *openMode) (time.Duration, error) {
			return old.Released(ctx, l.dp.mode.Kind, l.table.Desired(), l.demand.options[mode])
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("remove the rules of the mode %s: %w", mode, err))
			wait = cleanupInterval
		}
		if wait > 0 {
			l.stepAfter(wait)
		}
	}
	l.problems[report.PreviousModeCleanup] = errors.Join(errs...)
}

// cleanUpMode removes what a mode has left, or returns after which time to try again.
// released says how long its connections are waited for; nil: they are not.
func (l *Loop) cleanUpMode(ctx context.Context, mode v1alpha1.ProxyMode, released func(*openMode) (time.Duration, error)) (wait time.Duration, err error) {
	old := l.previous[mode]
	if old == nil { // left by an agent before this one
		old, err = l.modes.open(mode)
		if errors.Is(err, dataplane.ErrUnsupported) {
			// Of a newer version, or what it needs is not there, and so nothing of it.
			return 0, l.installed.Remove(mode)
		}
		if err != nil {
			return 0, err
		}
		l.previous[mode] = old
	}
	if released != nil {
		if wait, err = released(old); err != nil || wait > 0 {
			return wait, err
		}
	}
	if err := old.Cleanup(ctx); err != nil {
		return 0, err
	}
	delete(l.previous, mode)
	if err := old.Close(); err != nil {
		return 0, err
	}
	l.log.Info("Removed the rules of the mode", "mode", mode)
	return 0, l.installed.Remove(mode)
}
