// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"context"
	"math"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// program makes the kernel follow the table: the active mode by one slice of what
// changed, then the candidate, if it is due, by everything. It says what it did, and
// sets when to try again.
func (l *Loop) program(ctx context.Context, ch source.Changes) report.Step {
	due := l.candidate != nil && !l.clock.Now().Before(l.candidate.due)
	budget, costs := math.MaxInt, resolve.Costs{Share: true} // Sync programs everything
	if l.dp != nil && !l.needSync && !due {
		budget, costs = stepOf(l.dp.mode)
	}
	delta, more := l.table.FlushSlice(budget, costs)
	if !delta.Empty() || ch.Node != nil {
		l.Asks.changes++
	}
	l.flows.Change(delta)
	l.problems[report.SkippedRules] = source.JoinFirst(maxMalformed, l.malform, model.ServiceID.String)
	l.began = append(l.began, ch.Began[:min(len(ch.Began), maxBegan-len(l.began))]...)
	did := report.Step{Queued: ch.Since}
	l.retry = 0
	if l.dp != nil {
		l.follow(ctx, &did, delta, more, ch)
	}
	if due && ctx.Err() == nil {
		l.attempt(ctx, &did, ch)
	}
	return did
}

// stepOf returns what one call of a mode's Apply may cost.
func stepOf(m dataplane.Mode) (budget int, costs resolve.Costs) {
	return cmp.Or(m.MaxStep, sliceBudget), resolve.Costs{
		Share:        m.Kind != dataplane.LoadBalancer, // that has the endpoints of a port at each of its frontends
		MaxEndpoints: m.MaxEndpoints,
		Rewrite:      m.RewritesEndpoints,
	}
}

// follow makes the active mode follow a delta, or all of the table if its state is not
// known or it is time to look.
func (l *Loop) follow(ctx context.Context, did *report.Step, delta model.Delta, more bool, ch source.Changes) {
	look := l.needSync
	did.Mode = l.dp.Mode()
	start := l.clock.Now()
	var result dataplane.Result
	var err error
	switch {
	case look:
		l.lookAt = nil // this is the look
		interruptible, end := l.resync.look(ctx, l.store)
		result, err = l.dp.Sync(interruptible, l.table.Desired(), l.options)
		end()
	case !delta.Empty():
		result, err = l.dp.Apply(ctx, delta)
	}
	did.Operations, did.Repaired, did.Duration = result.Operations, result.Repaired, l.clock.Since(start)
	did.Synced = look && !result.Interrupted
	l.needSync, l.more, l.problems[report.KernelError] = err != nil, more && err == nil, err
	if look {
		l.resync.looked(result)
	}
	if err != nil {
		l.stepAfter(l.backoff.Next())
		return
	}
	if result.Interrupted {
		l.lookAt = l.clock.After(interruptedPause)
	}
	l.succeed(did, result, look || !delta.Empty(), ch)
}

// succeed notes what is programmed now; called says whether the mode was called for it. What
// the node reports, and answers to health checks, follows when no slice is left.
func (l *Loop) succeed(did *report.Step, result dataplane.Result, called bool, ch source.Changes) {
	did.Operations, did.Repaired = result.Operations, result.Repaired
	if called {
		l.limitations, l.nextLook = result.Unsupported, nil
		if wait := result.NextLook; wait > 0 {
			l.nextLook = l.clock.After(max(wait, l.resync.afterNotification()))
		}
	}
	if result.Repaired > 0 {
		l.repairs = report.Repairs{Count: l.repairs.Count + 1, Last: l.clock.Now()}
	}
	if !l.dp.isProxy() {
		l.flows.Programmed(did.Synced)
	}
	if l.more {
		p := *l.programmed // there is one: the first programming is a Sync
		p.Time = l.clock.Now()
		l.programmed = &p
	} else {
		var node *source.NodeRules
		switch {
		case l.candidate == nil:
			node = l.node
		case l.programmed != nil:
			node = l.programmed.Node // the mode that the new one asks for is not active
		}
		l.programmed = &report.Programmed{Node: node, Mode: did.Mode, Digest: ch.Digest, Slices: ch.Count,
			Counts: l.table.Counts(), Time: l.clock.Now()}
		did.Began, l.began = l.began, nil
		l.answer(l.table.Node(), l.table.FlushHealthChecks())
	}
	l.backoff.Reset()
}
