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
	if len(others) == 0 {
		return
	}
	var errs []error
	for _, mode := range others {
		if l.candidate != nil && l.candidate.Mode() == mode {
			continue
		}
		wait, err := l.cleanUpMode(ctx, mode)
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
func (l *Loop) cleanUpMode(ctx context.Context, mode v1alpha1.ProxyMode) (wait time.Duration, err error) {
	old, err := l.openPrevious(mode)
	if old == nil || err != nil {
		return 0, err
	}
	wait, err = old.Released(ctx, l.dp.mode.Kind, l.table.Desired(), l.demand.options[mode])
	if err != nil || wait > 0 {
		return wait, err
	}
	return 0, l.remove(ctx, old)
}

// openPrevious opens a mode to remove what it has left. nil: it has left nothing.
func (l *Loop) openPrevious(mode v1alpha1.ProxyMode) (*openMode, error) {
	if old := l.previous[mode]; old != nil {
		return old, nil
	}
	old, err := l.modes.open(mode) // left by an agent before this one
	if errors.Is(err, dataplane.ErrUnsupported) {
		// Of a newer version, or what it needs is not there, and so nothing of it.
		return nil, l.installed.Remove(mode)
	}
	if err != nil {
		return nil, err
	}
	l.previous[mode] = old
	return old, nil
}

// remove removes what a previous mode has left.
func (l *Loop) remove(ctx context.Context, old *openMode) error {
	if err := old.Cleanup(ctx); err != nil {
		return err
	}
	mode := old.Mode()
	delete(l.previous, mode)
	if err := old.Close(); err != nil {
		return err
	}
	l.log.Info("Removed the rules of the mode", "mode", mode)
	return l.installed.Remove(mode)
}
