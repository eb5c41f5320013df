// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// retireInterval is how often a mode is asked whether its connections are over.
const retireInterval = 2 * time.Second

// lingerTime is how long connections go on that the kernel translates, when a mode is
// in force for which the kernel needs to translate nothing.
const lingerTime = 5 * time.Second

// change takes another dataplane into use. It is programmed before the rules of
// the old one go, and where both would hold the same table, one replaces the
// other in one transaction: there is no moment without rules. The old one stays
// for its connections, see retire.
func (l *Loop) change(ctx context.Context, dp dataplane.Dataplane) error {
	// A disk that is full must not keep the node from being programmed.
	l.snapshot.Retiring = l.installed.Add(dp.Mode())
	if again := l.retiring[dp.Mode()]; again != nil {
		// The new one adopts what it has left.
		delete(l.retiring, dp.Mode())
		if err := again.Close(); err != nil {
			return err
		}
	}
	if l.dp != nil {
		l.stopWatcher()
		if err := l.yield(ctx, dp); err != nil {
			l.log.Error(err, "Some open connections will end with the change of the mode", "from", l.dp.Mode(), "to", dp.Mode())
		}
		l.retiring[l.dp.Mode()] = l.dp
	}
	delete(l.lingering, dp.Mode())
	l.dp, l.needSync, l.resync = dp, true, resync{clock: l.clock}
	l.stopWatcher = l.startWatcher(ctx, dp)
	return nil
}

// yield has the rules of another mode leave the connections alone that the one in force
// has opened itself. The kernel has to know of all of them before it translates any: of
// those that are open it is told, and those that begin it sees.
func (l *Loop) yield(ctx context.Context, to dataplane.Dataplane) error {
	y, ok := l.dp.(dataplane.Yielder)
	if !ok {
		return nil
	}
	var err error
	if t, ok := to.(dataplane.Tracker); ok {
		err = t.Track(ctx)
	}
	return errors.Join(err, y.Yield(ctx))
}

// retire removes what the modes have left that are not in force any more, once
// the one in force is programmed. Those whose connections would end with them are
// asked again later.
func (l *Loop) retire(ctx context.Context) {
	if l.dp == nil || l.snapshot.Programming != nil {
		return
	}
	others := l.installed.Others(l.dp.Mode())
	if len(others) == 0 {
		return
	}
	var errs []error
	for _, mode := range others {
		done, err := l.retireMode(ctx, mode)
		if err != nil {
			errs = append(errs, fmt.Errorf("remove the rules of the mode %s: %w", mode, err))
		}
		if !done && l.retry == 0 {
			l.retry = retireInterval
		}
	}
	l.snapshot.Retiring = errors.Join(errs...)
}

func (l *Loop) retireMode(ctx context.Context, mode v1alpha1.ProxyMode) (done bool, err error) {
	dp := l.retiring[mode]
	if dp == nil { // left by an agent before this one
		open := l.modes.dataplanes[mode]
		if open == nil {
			return true, l.installed.Remove(mode) // of a newer version: nothing that we could do
		}
		if dp, err = open(); err != nil {
			return false, err
		}
		l.retiring[mode] = dp
	}
	_, last := l.dp.(dataplane.Yielder)
	if r, ok := dp.(dataplane.Retirer); ok && !last {
		if idle, err := r.Retire(ctx, l.table.Desired()); err != nil || !idle {
			return false, err
		}
	}
	if lingerer, ok := dp.(dataplane.Lingerer); ok && last {
		since, lingers := l.lingering[mode]
		if !lingers {
			if err := lingerer.Linger(ctx); err != nil {
				return false, err
			}
			since = l.clock.Now()
			l.lingering[mode] = since
		}
		if l.clock.Since(since) < lingerTime {
			return false, nil
		}
	}
	if err := dp.Cleanup(ctx); err != nil {
		return false, err
	}
	delete(l.retiring, mode)
	delete(l.lingering, mode)
	if err := dp.Close(); err != nil {
		return false, err
	}
	l.log.Info("Removed the rules of the mode that was in force before", "mode", mode)
	return true, l.installed.Remove(mode)
}
