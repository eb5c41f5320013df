// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/backoff"
	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
)

// maxFailedSyncs is how many Syncs in a row a mode may fail before its first success.
// After that it counts as one that this node cannot run.
const maxFailedSyncs = 5

// candidate is the mode that was chosen, from then until its first Sync has succeeded.
// Until then the mode before it stays active and follows all changes: the rules of the
// new one come before those of the old one go. Where both hold the same table, one
// replaces the other in one transaction.
type candidate struct {
	*openMode
	options     dataplane.Options
	prepared    bool // for its first Sync
	failures    int
	backoff     backoff.Backoff
	due         time.Time // the next Sync
	stopWatcher func()
}

// nominate makes a mode the candidate. What it has left before is not cleaned up any
// more: it adopts that.
func (l *Loop) nominate(ctx context.Context, o *openMode, options dataplane.Options) {
	l.drop()
	// A disk that is full must not keep the node from being programmed.
	l.problems[report.PreviousModeCleanup] = l.installed.Add(o.Mode())
	if again := l.previous[o.Mode()]; again != nil {
		delete(l.previous, o.Mode())
		if err := again.Close(); err != nil {
			l.log.Error(err, "Failed to close the dataplane", "mode", o.Mode())
		}
	}
	if l.dp != nil {
		l.log.Info("Changing the mode", "from", l.dp.Mode(), "to", o.Mode())
	}
	l.candidate = &candidate{openMode: o, options: options, backoff: backoff.Backoff{Min: retryMin, Max: retryMax},
		stopWatcher: l.startWatcher(ctx, o)}
}

// adopt makes the mode that an earlier agent had active the active one, where the policy
// asks for another or for none that this node can run. It follows all changes until the
// chosen mode is programmed, and hands over to it, as if there had been no restart. If it
// cannot run any more, what it has left stays as it is until then.
func (l *Loop) adopt(ctx context.Context, chosen *openMode) {
	last := l.installed.Active()
	if l.dp != nil || last == "" || chosen != nil && chosen.Mode() == last {
		return
	}
	c := l.candidate
	var open []*openMode
	if c != nil {
		open = append(open, c.openMode)
	}
	options := l.demand.options[last]
	o, err := l.modes.try(ctx, last, options, open)
	if err != nil {
		l.log.Info("The previous mode does not follow changes until the new one is programmed", "mode", last, "reason", err.Error())
		return
	}
	l.dp, l.options, l.needSync = o, options, true
	if c != nil && c.openMode == o {
		l.stopWatcher, l.candidate = c.stopWatcher, nil
		return
	}
	l.stopWatcher = l.startWatcher(ctx, o)
}

// drop gives the candidate up. What it has made is cleaned up like what any other mode
// has left.
func (l *Loop) drop() {
	if l.candidate == nil {
		return
	}
	l.candidate.stopWatcher()
	l.previous[l.candidate.Mode()] = l.candidate.openMode
	l.candidate, l.problems[report.ModeChangeFailed] = nil, nil
}

// attempt syncs the candidate. If that succeeds, it is active.
func (l *Loop) attempt(ctx context.Context, did *report.Step, ch source.Changes) {
	c := l.candidate
	if !c.prepared && l.dp != nil {
		// The kernel has to know of all connections before it translates any: Incoming
		// has it see those that begin, and Outgoing makes those known that are open.
		if err := errors.Join(c.Incoming(ctx, l.dp.mode.Kind), l.dp.Outgoing(ctx, c.mode.Kind)); err != nil {
			l.log.Error(err, "Some open connections will end with the change of the mode", "from", l.dp.Mode(), "to", c.Mode())
		}
	}
	c.prepared = true
	start := l.clock.Now()
	result, err := c.Sync(ctx, l.table.Desired(), c.options)
	if ctx.Err() != nil {
		return // what was interrupted is no failure
	}
	if err != nil {
		l.failAttempt(ctx, did, err)
		return
	}
	l.promote()
	*did = report.Step{Queued: did.Queued, Mode: l.dp.Mode(), Synced: true, Duration: l.clock.Since(start)}
	l.resync.looked(result)
	l.succeed(did, result, true, ch)
}

// promote makes the candidate the active mode.
func (l *Loop) promote() {
	c := l.candidate
	if l.dp != nil {
		l.stopWatcher()
		l.previous[l.dp.Mode()] = l.dp
	}
	l.dp, l.options, l.stopWatcher, l.candidate = c.openMode, c.options, c.stopWatcher, nil
	l.needSync, l.more, l.resync = false, false, resync{clock: l.clock}
	l.modes.succeeded(c.Mode())
	l.problems[report.PreviousModeCleanup] = l.installed.Activate(c.Mode())
	l.problems[report.KernelError], l.problems[report.ModeChangeFailed], l.problems[report.ModeUnsupported] = nil, nil, nil
}

// failAttempt notes that the candidate could not be synced. The active mode makes
// right what the attempt may have changed of its rules.
func (l *Loop) failAttempt(ctx context.Context, did *report.Step, err error) {
	c := l.candidate
	c.failures++
	c.due = l.clock.Now().Add(c.backoff.Next())
	if l.dp == nil {
		did.Mode, did.Synced, l.problems[report.KernelError] = c.Mode(), true, err
	} else {
		l.problems[report.ModeChangeFailed] = fmt.Errorf("%s: %w", c.Mode(), err)
		_, back := l.dp.Sync(ctx, l.table.Desired(), l.options)
		if l.needSync, l.problems[report.KernelError] = back != nil, back; back != nil {
			l.stepAfter(l.backoff.Next())
		}
	}
	if c.failures < maxFailedSyncs {
		return
	}
	c.failures = 0
	l.modes.failed(c.Mode(), c.options, fmt.Errorf("could not be programmed %d times in a row: %w", maxFailedSyncs, err))
	l.problems[report.ModeUnsupported] = l.choose(ctx)
	l.capabilities = l.modes.capabilities()
}

// stepAfter has a step made after some time, or before.
func (l *Loop) stepAfter(wait time.Duration) {
	if wait = max(wait, 1); l.retry == 0 || wait < l.retry {
		l.retry = wait
	}
}
