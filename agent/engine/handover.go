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

// change takes another dataplane into use. It is programmed before the rules of
// the old one go, and where both would hold the same table, one replaces the
// other in one transaction: there is no moment without rules. The old one stays
// for its connections, see retire.
func (l *Loop) change(ctx context.Context, dp *openMode) error {
	// A disk that is full must not keep the node from being programmed.
	l.problems[report.PreviousModeCleanup] = l.installed.Add(dp.Mode())
	if again := l.retiring[dp.Mode()]; again != nil {
		// The new one adopts what it has left.
		delete(l.retiring, dp.Mode())
		if err := again.Close(); err != nil {
			return err
		}
	}
	if l.dp != nil {
		l.stopWatcher()
		// The kernel has to know of all connections before it translates any: Outgoing
		// makes those known that are open, and Incoming has it see those that begin.
		if err := errors.Join(dp.Incoming(ctx, l.dp.mode.Kind), l.dp.Outgoing(ctx, dp.mode.Kind)); err != nil {
			l.log.Error(err, "Some open connections will end with the change of the mode", "from", l.dp.Mode(), "to", dp.Mode())
		}
		l.retiring[l.dp.Mode()] = l.dp
	}
	l.dp, l.needSync, l.resync = dp, true, resync{clock: l.clock}
	l.stopWatcher = l.startWatcher(ctx, dp)
	return nil
}

// retire removes what the modes have left that are not in force any more, once
// the one in force is programmed. Those whose connections would end with them are
// asked again later.
func (l *Loop) retire(ctx context.Context) {
	if l.dp == nil || l.problems[report.KernelError] != nil {
		return
	}
	others := l.installed.Others(l.dp.Mode())
	if len(others) == 0 {
		return
	}
	var errs []error
	for _, mode := range others {
		wait, err := l.retireMode(ctx, mode)
		if err != nil {
			errs = append(errs, fmt.Errorf("remove the rules of the mode %s: %w", mode, err))
			wait = cleanupInterval
		}
		if wait > 0 && (l.retry == 0 || wait < l.retry) {
			l.retry = wait
		}
	}
	l.problems[report.PreviousModeCleanup] = errors.Join(errs...)
}

// retireMode removes what a mode has left, or returns after which time to try again.
func (l *Loop) retireMode(ctx context.Context, mode v1alpha1.ProxyMode) (wait time.Duration, err error) {
	old := l.retiring[mode]
	if old == nil { // left by an agent before this one
		old, err = l.modes.open(mode)
		if errors.Is(err, dataplane.ErrUnsupported) {
			// Of a newer version, or what it needs is not there, and so nothing of it.
			return 0, l.installed.Remove(mode)
		}
		if err != nil {
			return 0, err
		}
		l.retiring[mode] = old
	}
	wait, err = old.Released(ctx, l.dp.mode.Kind, l.table.Desired(), l.demand.options[mode])
	if err != nil || wait > 0 {
		return wait, err
	}
	if err := old.Cleanup(ctx); err != nil {
		return 0, err
	}
	delete(l.retiring, mode)
	if err := old.Close(); err != nil {
		return 0, err
	}
	l.log.Info("Removed the rules of the mode that was in force before", "mode", mode)
	return 0, l.installed.Remove(mode)
}
