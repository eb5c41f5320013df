// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// leave removes what this node was programmed with in any mode: no ProxyConfig selects it
// any more, and the last one wanted that; kube-proxy serves it, if it is to have it. Open connections are not waited for, as in a
// clean-up by hand. Only the API can ask for it: what the journal says may be withdrawn.
func (l *Loop) leave(ctx context.Context, ch source.Changes) {
	l.retry = 0
	l.kubeProxy.Want(nil)
	l.kubeProxy.LookSoon(false)
	// What cannot be removed at once is no reason to wait for kube-proxy again.
	l.kubeProxy.released = ch.FromAPI && l.newest.Spec.KubeProxy == v1alpha1.KubeProxyGiveBack
	if !ch.FromAPI {
		l.report(l.snapshot(ch, report.Step{Queued: ch.Since}))
		return
	}
	l.verify.forget()
	l.deactivate()
	err := removeAll(ctx, l)
	if err == nil {
		err = l.untune()
	}
	if ctx.Err() != nil {
		return // what was interrupted is no failure
	}
	holdsNothing(l, err)
	l.report(l.snapshot(ch, report.Step{Queued: ch.Since}))
}

// removeAll removes what all modes have left, without waiting for connections.
func removeAll(ctx context.Context, l *Loop) error {
	var errs []error
	for _, mode := range l.installed.Others("") {
		if _, err := l.cleanUpMode(ctx, mode, nil); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", mode, err))
		}
	}
	return errors.Join(errs...)
}

// holdsNothing says that the node is to hold no rules of ours; err: some could not be removed, which is
// tried again. Problems of programming are over.
func holdsNothing(l *Loop, err error) {
	if err != nil {
		l.stepAfter(cleanupInterval)
	}
	l.problems = report.Problems{
		report.JournalFailed: l.problems[report.JournalFailed],
		report.RefusedSlices: l.problems[report.RefusedSlices],
		report.NodeCleanup:   err,
	}
}

// deactivate ends the active mode and the candidate, empties the table, and closes the ports
// of health checks. If the node is to be programmed again, that comes with new rules of
// the node, and with them all Services.
func (l *Loop) deactivate() {
	l.drop()
	if l.dp != nil {
		l.stopWatcher()
		l.previous[l.dp.Mode()] = l.dp
	}
	l.dp, l.options, l.demand, l.resync = nil, nil, demand{}, resync{clock: l.clock}
	l.programmed, l.limitations, l.began = nil, nil, nil
	l.more, l.lookAt, l.nextLook = false, nil, nil
	clear(l.malform)
	for _, id := range l.table.Services() {
		l.table.Set(id, resolve.Result{})
	}
	delta, _ := l.table.FlushSlice(math.MaxInt, resolve.Costs{Share: true})
	l.flows.Change(delta)
	l.answer(l.table.Node(), l.table.FlushHealthChecks())
}
