// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// Back-off of a failed programming.
const (
	retryMin = 100 * time.Millisecond
	retryMax = 10 * time.Second
)

// loop turns inputs into a programmed kernel. One goroutine runs it.
type loop struct {
	nodeName   string
	in         *inputs
	modes      *modes
	checkpoint *checkpoint
	report     func(outcome)
	// answer takes what load balancers are told, once it is programmed.
	answer func(model.NodeSettings, resolve.HealthChecks)
	flows  flows
	tune   func(*v1alpha1.ConntrackOptions) error
	log    logr.Logger
	clock  clock.Clock

	dp       dataplane.Dataplane
	table    *resolve.Table
	node     *nodeRules
	settings model.NodeSettings // that the node asks for
	demand   demand             // that the choice of the mode was made for, when:
	chosen   time.Time
	ipvs     model.IPVSSettings // that the kernel can have
	malform  map[model.ServiceID]error
	outcome  outcome
	measured []time.Time // when the changes began that wait to be programmed
	needSync bool
	retry    time.Duration

	footprint *footprint
	retiring  map[v1alpha1.ProxyMode]dataplane.Dataplane // that were in force before
	lingering map[v1alpha1.ProxyMode]time.Time           // of them, without rules since then

	disturbed   chan struct{} // others may have changed the kernel
	pace        pace
	lookAt      <-chan time.Time // the kernel, for news that had to wait
	stopWatcher func()
}

// outcome is what the loop knows after a step; the status is made of it.
type outcome struct {
	node     *nodeRules // the newest
	nodeGone bool
	fromAPI  bool

	// What is programmed; running is nil before the first time.
	running *nodeRules
	mode    v1alpha1.ProxyMode
	digest  uint64
	slices  int
	counts  resolve.Counts

	unsupported error // no dataplane can run what the policy asks for
	skipped     error // what the modes lack that come before the one in force
	settings    error // malformed parameters in the NodeRuleSet
	malformed   []error
	programming error              // the last programming failed
	attempted   v1alpha1.ProxyMode // by the last programming
	lacking     error              // what it left out, for the node cannot do it
	storing     error              // the checkpoint cannot be written
	retiring    error              // what another mode has left cannot be removed
	forgetting  error              // stale entries of connection tracking cannot be deleted
	tuning      error              // nor can its parameters be set
	queued      time.Time          // when the oldest change of this step came
	programmed  time.Time
	duration    time.Duration
	stats       dataplane.Stats
	synced      bool        // by Sync rather than Apply
	measured    []time.Time // when the changes began that this step programmed

	capabilities []v1alpha1.ModeCapability

	repairs    int64 // steps that found others' changes
	lastRepair time.Time
}

func newLoop(nodeName string, in *inputs, dataplanes Dataplanes, cp *checkpoint, log logr.Logger, clk clock.Clock, report func(outcome)) *loop {
	return &loop{
		nodeName: nodeName, in: in, modes: newModes(dataplanes), checkpoint: cp, report: report, log: log, clock: clk,
		table: resolve.NewTable(), malform: map[model.ServiceID]error{}, needSync: true,
		footprint: &footprint{}, retiring: map[v1alpha1.ProxyMode]dataplane.Dataplane{},
		lingering: map[v1alpha1.ProxyMode]time.Time{},
		disturbed: make(chan struct{}, 1), pace: pace{clock: clk},
		answer: func(model.NodeSettings, resolve.HealthChecks) {},
		flows:  noFlows{}, tune: func(*v1alpha1.ConntrackOptions) error { return nil },
	}
}

// run steps whenever something changed, when a retry is due, and regularly to
// compare the kernel with what it should hold.
func (l *loop) run(ctx context.Context) {
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

// wait returns when there is something to do. News of others' changes may have to wait
// until it is time to look at the kernel again; our own changes do not wait for them.
func (l *loop) wait(ctx context.Context, retry <-chan time.Time, readBack clock.Timer) {
	for {
		select {
		case <-ctx.Done():
		case <-l.in.wakeup:
		case <-retry:
		case <-l.disturbed:
			if wait := l.pace.afterNews(); wait > 0 {
				if l.lookAt == nil {
					l.lookAt = l.clock.After(wait)
				}
				continue
			}
			l.needSync = true
		case <-l.lookAt:
			l.lookAt, l.needSync = nil, true
		case <-readBack.C():
			l.needSync = true
			readBack.Reset(l.pace.regular())
		}
		return
	}
}

func (l *loop) close() {
	if l.dp != nil {
		l.stopWatcher()
		if err := l.dp.Close(); err != nil {
			l.log.Error(err, "Failed to close the dataplane")
		}
	}
	for mode, dp := range l.retiring {
		if err := dp.Close(); err != nil {
			l.log.Error(err, "Failed to close the dataplane", "mode", mode)
		}
	}
}

// step takes the changes, stores them, and programs them.
func (l *loop) step(ctx context.Context) {
	ch, complete := l.in.take()
	if !complete {
		return
	}
	l.outcome.nodeGone, l.outcome.fromAPI, l.outcome.queued = ch.nodeGone, ch.fromAPI, ch.since
	l.store(ch)
	l.resolve(ch)
	choosing := ch.node != nil || l.outcome.unsupported != nil && l.clock.Since(l.chosen) >= l.retry
	if choosing {
		l.outcome.unsupported = l.choose(ctx)
		l.applySettings()
	}
	l.retry = l.program(ctx, ch)
	if ctx.Err() != nil {
		return // what was interrupted is no failure
	}
	if ch.node != nil || l.outcome.synced {
		// Not before the programming, which loads the kernel's module.
		l.outcome.tuning = l.tune(l.node.Spec.Conntrack)
	}
	l.outcome.forgetting = nil
	if _, proxies := l.dp.(dataplane.Yielder); !proxies {
		l.outcome.forgetting = l.flows.Failure()
	}
	l.retire(ctx)
	l.report(l.outcome)
	// To load modules may take long: nobody has to wait for it.
	if choosing && l.survey(ctx) && l.outcome.programming == nil {
		l.outcome.stats, l.outcome.synced, l.outcome.measured = dataplane.Stats{}, false, nil // told already
		l.report(l.outcome)
	}
}

// store notes the changes in the checkpoint, before they are programmed: a
// killed agent must not take the kernel back to an older state. A full disk
// must not stop the programming, though.
func (l *loop) store(ch changes) {
	if l.checkpoint == nil || ch.node == nil && len(ch.slices) == 0 && l.outcome.storing == nil {
		return
	}
	l.outcome.storing = l.checkpoint.append(ch)
}

// resolve brings the changes into the table.
func (l *loop) resolve(ch changes) {
	if ch.node != nil {
		l.node = ch.node
		l.settings, l.outcome.settings = resolve.Settings(ch.node.Spec)
	}
	node := resolve.Node{Name: l.nodeName, Spec: l.node.Spec}
	for id, parts := range ch.services {
		resolved, err := resolve.Service(node, id, parts)
		if err != nil {
			l.malform[id] = err
		} else {
			delete(l.malform, id)
		}
		l.table.Set(id, resolved)
	}
}

// startWatcher wakes the loop when somebody else changes the kernel, until the
// returned function is called. What it misses is found by the regular read-back.
func (l *loop) startWatcher(ctx context.Context, dp dataplane.Dataplane) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	disturb := func() {
		select {
		case l.disturbed <- struct{}{}:
		default:
		}
	}
	go func() {
		defer close(done)
		for {
			err := dp.Watch(ctx, disturb)
			if ctx.Err() != nil {
				return
			}
			l.log.Error(err, "Failed to watch the kernel for others' changes, will retry")
			disturb()
			select {
			case <-ctx.Done():
			case <-l.clock.After(retryMax):
			}
		}
	}()
	return func() { cancel(); <-done }
}

// program makes the kernel follow the table. It returns after which time to try
// again; 0: all is done.
func (l *loop) program(ctx context.Context, ch changes) time.Duration {
	delta := l.table.Flush()
	l.flows.Change(delta)
	l.outcome.node = l.node
	l.outcome.malformed = l.malformed()
	l.outcome.stats, l.outcome.synced, l.outcome.measured = dataplane.Stats{}, l.needSync, nil
	l.measured = l.in.triggers.take(ch, l.measured)
	if l.dp == nil {
		return retryAfter(l.retry)
	}
	start := l.clock.Now()
	var err error
	switch {
	case l.needSync:
		l.lookAt = nil // this is the look
		l.outcome.stats, err = l.dp.Sync(ctx, l.table.Desired())
	case !delta.Empty():
		l.outcome.stats, err = l.dp.Apply(ctx, delta)
	}
	l.outcome.duration = l.clock.Since(start)
	if l.outcome.synced {
		l.pace.looked(l.outcome.stats.Reading)
	}
	l.needSync = err != nil
	l.outcome.programming, l.outcome.attempted = err, l.dp.Mode()
	if err != nil {
		return retryAfter(l.retry)
	}
	if l.outcome.synced || !delta.Empty() {
		l.outcome.lacking = l.outcome.stats.Lacking
	}
	if l.outcome.stats.Repaired > 0 {
		l.outcome.repairs++
		l.outcome.lastRepair = l.clock.Now()
	}
	l.outcome.running, l.outcome.mode, l.outcome.programmed = l.node, l.dp.Mode(), l.clock.Now()
	l.outcome.digest, l.outcome.slices, l.outcome.counts = ch.digest, ch.count, l.table.Counts()
	l.outcome.measured, l.measured = l.measured, nil
	if _, proxies := l.dp.(dataplane.Yielder); !proxies {
		l.flows.Programmed(l.outcome.synced)
	}
	l.answer(l.table.Node(), l.table.FlushHealthChecks())
	if l.outcome.storing != nil || l.outcome.unsupported != nil {
		return retryMax
	}
	return 0
}

func retryAfter(last time.Duration) time.Duration {
	return min(max(2*last, retryMin), retryMax)
}

// maxMalformed bounds how many malformed Services are reported by name.
const maxMalformed = 3

func (l *loop) malformed() []error {
	ids := slices.SortedFunc(maps.Keys(l.malform), func(a, b model.ServiceID) int { return strings.Compare(a.String(), b.String()) })
	var errs []error
	for i, id := range ids {
		if i == maxMalformed {
			return append(errs, fmt.Errorf("and %d more", len(ids)-i))
		}
		errs = append(errs, l.malform[id])
	}
	return errs
}
