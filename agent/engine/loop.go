// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package engine makes the kernel follow what the source says: it chooses the mode,
// programs it, hands over from one mode to another, and compares the kernel again.
//
//	source.Changes -> resolve.Table -> dataplane.Dataplane -> report.Snapshot
package engine

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/backoff"
	"github.com/fairlead-proxy/fairlead/agent/check"
	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// Back-off of a failed programming.
const (
	retryMin = 100 * time.Millisecond
	retryMax = 10 * time.Second
)

// sliceBudget is what one call of Apply may cost (see resolve.Table.FlushSlice) unless the
// mode says otherwise, so that a Service with masses of frontends and endpoints never holds
// up the others for more than 100 ms: an element of nftables takes up to 10 µs.
const sliceBudget = 4096

// maxBegan bounds the changes that wait to be measured while the kernel refuses to be
// programmed.
const maxBegan = 10000

// Loop turns Changes into a programmed kernel. One goroutine runs it.
type Loop struct {
	nodeName string
	store    *source.Store
	modes    *nodeModes
	journal  *state.Journal
	report   func(report.Snapshot)
	// answer takes the answers to health checks of load balancers, once they are programmed.
	answer func(model.NodeSettings, resolve.HealthChecks)
	flows  Flows
	tune   func(*v1alpha1.ConntrackOptions) error
	untune func() error

	kubeProxy predecessor

	log   logr.Logger
	clock clock.Clock

	dp        *openMode         // active; nil: none is
	options   dataplane.Options // of it
	candidate *candidate        // to become active; nil: dp stays
	Syncing   *Syncing          // since when a Sync runs; for other goroutines
	Asks      *Asks             // of other goroutines

	table    *resolve.Table
	newest   *source.NodeRules  // that the API asks for
	verify   verification       // of its revision
	node     *source.NodeRules  // that the kernel is to have: newest, or with the policy verified last
	settings model.NodeSettings // that the node asks for
	want     demand             // of the node
	demand   demand             // that the choice of the mode was made for
	malform  map[model.ServiceID]error
	began    []time.Time // the moments at which the changes began that wait to be programmed
	needSync bool
	more     bool // the table has more to program than the last slice
	backoff  backoff.Backoff
	retry    time.Duration // when to step although nothing happens; 0: never

	problems     report.Problems
	programmed   *report.Programmed
	limitations  []dataplane.Limitation
	capabilities []v1alpha1.ModeCapability
	repairs      report.Repairs

	installed *state.InstalledModes
	previous  map[v1alpha1.ProxyMode]*openMode // previous modes, until they are cleaned up

	notified    chan struct{} // of what may be an external change
	resync      resync
	lookAt      <-chan time.Time // the kernel, for an external change that had to wait
	nextLook    <-chan time.Time // the mode asks for
	stopWatcher func()
}

// Config is what a loop works with. All of it is needed.
type Config struct {
	NodeName  string
	Source    *source.Store
	Modes     []dataplane.Mode // that the agent can run
	Env       dataplane.Env    // where they are opened
	Journal   *state.Journal
	Trial     *state.Trial
	Installed *state.InstalledModes
	// HealthChecks takes the answers to health checks of load balancers, once they are programmed.
	HealthChecks func(model.NodeSettings, resolve.HealthChecks)
	Flows        Flows
	Tune         func(*v1alpha1.ConntrackOptions) error // sets the parameters of connection tracking
	Untune       func() error                           // sets them back
	KubeProxy    KubeProxy
	Report       func(report.Snapshot)
	Log          logr.Logger
	Clock        clock.Clock
}

// New returns a Loop that has not begun.
func New(c Config) *Loop {
	modes := newNodeModes(c.Modes, c.Env, c.Clock)
	return &Loop{
		nodeName: c.NodeName, store: c.Source, modes: modes, Syncing: &modes.syncing, journal: c.Journal, report: c.Report,
		answer: c.HealthChecks, flows: c.Flows, tune: c.Tune, untune: c.Untune, kubeProxy: predecessor{KubeProxy: c.KubeProxy}, log: c.Log, clock: c.Clock,
		verify: newVerification(c.Trial, check.New(new(net.Dialer).DialContext, c.Source.Wake, c.Clock), c.Clock, c.Log),
		table:  resolve.NewTable(), malform: map[model.ServiceID]error{}, needSync: true,
		installed: c.Installed, previous: map[v1alpha1.ProxyMode]*openMode{},
		Asks:     &Asks{pending: make(chan chan<- Wanted)},
		notified: make(chan struct{}, 1), resync: resync{clock: c.Clock},
		backoff: backoff.Backoff{Min: retryMin, Max: retryMax},
	}
}

// Run steps whenever something changed, when a retry is due, and regularly to
// compare the kernel with what it should hold.
func (l *Loop) Run(ctx context.Context) {
	defer l.close()
	readBack := l.clock.NewTimer(readBackInterval)
	defer readBack.Stop()
	for ctx.Err() == nil {
		l.step(ctx)
		var retry <-chan time.Time
		if l.retry > 0 {
			retry = l.clock.After(l.retry)
		}
		l.wait(ctx, retry, readBack)
	}
}

// wait returns when there is something to do. Notifications may have to wait
// until it is time to look at the kernel again; our own changes do not wait for them.
func (l *Loop) wait(ctx context.Context, retry <-chan time.Time, readBack clock.Timer) {
	for !l.more {
		select {
		case <-ctx.Done():
		case <-l.store.Wakeup:
		case ask := <-l.Asks.pending:
			ask <- l.Asks.answer(l)
			continue
		case <-retry:
		case <-l.notified:
			if wait := l.resync.afterNotification(); wait > 0 {
				if l.lookAt == nil {
					l.lookAt = l.clock.After(wait)
				}
				continue
			}
			l.needSync = true
		case <-l.lookAt:
			l.lookAt, l.needSync = nil, true
		case <-l.nextLook:
			l.nextLook, l.needSync = nil, true
		case <-l.verify.timer:
			l.verify.timer = nil
		case <-l.probeAgain():
		case <-readBack.C():
			l.needSync = true
			readBack.Reset(l.resync.regular())
		}
		return
	}
}

func (l *Loop) close() {
	l.verify.check.Stop()
	if l.dp != nil {
		l.stopWatcher()
		if err := l.dp.Close(); err != nil {
			l.log.Error(err, "Failed to close the dataplane")
		}
	}
	l.drop()
	for mode, dp := range l.previous {
		if err := dp.Close(); err != nil {
			l.log.Error(err, "Failed to close the dataplane", "mode", mode)
		}
	}
}

// step takes the changes, stores them, and programs them.
func (l *Loop) step(ctx context.Context) {
	ch, complete := l.store.Take()
	if !complete {
		return
	}
	l.note(ch)
	l.problems[report.RefusedSlices] = ch.Refused
	l.problems[report.RemovalHeld] = ch.Held.Err
	if ch.Node != nil {
		l.newest, l.node = ch.Node, ch.Node
	}
	if l.kubeProxy.await(l); l.newest.Spec.CleanUpSince != nil && !l.kubeProxy.awaited {
		l.leave(ctx, ch)
		return
	}
	l.problems[report.NodeCleanup] = nil
	if ch.Node != nil {
		l.node = l.verify.admit(ch.Node)
		ch.Node = l.node
	}
	l.problems[report.JournalFailed] = errors.Join(l.problems[report.JournalFailed], l.verify.file.Failure())
	if l.kubeProxy.giveBack(ctx, l, ch) {
		return
	}
	l.resolve(ch)
	wait, failed := l.modes.wait(l.demand, l.dp)
	choosing := ch.Node != nil || failed && wait == 0
	if choosing {
		l.problems[report.ModeUnsupported] = l.choose(ctx)
	}
	did := l.program(ctx, ch)
	if l.candidate != nil {
		l.stepAfter(l.candidate.due.Sub(l.clock.Now()))
	}
	if ctx.Err() != nil {
		return // what was interrupted is no failure
	}
	if ch.Node != nil || did.Synced {
		// Not before the programming, which loads the kernel's module.
		l.problems[report.ConntrackSysctlFailed] = l.tune(l.node.Spec.Conntrack)
	}
	l.problems[report.ConntrackFailed] = nil
	if l.dp != nil && !l.dp.isProxy() {
		l.problems[report.ConntrackFailed] = l.flows.Failure()
	}
	l.cleanUp(ctx)
	l.verify.follow(l, did)
	out := l.snapshot(ch, did)
	l.kubeProxy.follow(l, out)
	l.report(out)
	// To load modules may take long: nothing waits for it.
	if choosing && l.survey(ctx) && l.problems[report.KernelError] == nil {
		l.report(l.snapshot(ch, report.Step{Queued: did.Queued}))
	}
}

// note notes the changes in the journal, before they are programmed: a killed agent must
// not take the kernel back to an older state. No disk stops the programming, though.
func (l *Loop) note(ch source.Changes) {
	if ch.Node != nil || len(ch.Slices) > 0 {
		l.problems[report.JournalFailed] = l.journal.Append(ch)
		return
	}
	l.problems[report.JournalFailed] = l.journal.Failure()
}

// resolve brings the changes into the table.
func (l *Loop) resolve(ch source.Changes) {
	if ch.Node != nil {
		var settings, options error
		l.settings, settings = resolve.Settings(ch.Node.Spec)
		l.want, options = l.modes.demand(ch.Node.Spec)
		l.problems[report.InvalidSettings] = errors.Join(settings, options)
		l.table.SetNode(l.settings)
	}
	node := resolve.Node{Name: l.nodeName, Spec: l.node.Spec, APIServers: ch.APIServers}
	for id, parts := range ch.Services {
		resolved, err := resolve.Service(node, id, parts)
		if err != nil {
			l.malform[id] = err
		} else {
			delete(l.malform, id)
		}
		l.table.Set(id, resolved)
	}
}

// probeAgain returns when modes that have failed are to be tried again; nil: none has.
func (l *Loop) probeAgain() <-chan time.Time {
	wait, failed := l.modes.wait(l.demand, l.dp)
	if !failed {
		return nil
	}
	return l.clock.After(wait)
}

// startWatcher wakes the loop after external changes of the kernel, until the
// returned function is called. What it misses is found by the regular read-back.
func (l *Loop) startWatcher(ctx context.Context, dp *openMode) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	notify := func() {
		select {
		case l.notified <- struct{}{}:
		default:
		}
	}
	go func() {
		defer close(done)
		for {
			err := dp.Watch(ctx, notify)
			if ctx.Err() != nil {
				return
			}
			l.log.Error(err, "Failed to watch the kernel for external changes, will retry")
			notify()
			select {
			case <-ctx.Done():
			case <-l.clock.After(retryMax):
			}
		}
	}()
	return func() { cancel(); <-done }
}

// snapshot is what the loop knows after a step.
func (l *Loop) snapshot(ch source.Changes, did report.Step) report.Snapshot {
	problems := l.problems
	if l.programmed == nil || l.node.Spec.Mode == v1alpha1.ModeAuto {
		problems[report.FallbackMode] = nil
	}
	problems[report.RevisionReverted] = l.verify.reverted(l.newest.Spec)
	return report.Snapshot{
		Node: l.newest, Rules: l.node, Revision: l.verify.shown.Status(), Returns: l.verify.returns, NodeGone: ch.NodeGone, FromAPI: ch.FromAPI, Programmed: l.programmed,
		Problems: problems.List(), Limitations: l.limitations, Capabilities: l.capabilities, Repairs: l.repairs,
		Held: ch.Held, KubeProxy: l.kubeProxy.Found(), Released: l.kubeProxy.released && l.kubeProxy.Serves() != 0,
		AwaitsKubeProxy: l.kubeProxy.awaited, Step: did,
	}
}

// maxMalformed bounds how many malformed Services are reported by name.
const maxMalformed = 3
