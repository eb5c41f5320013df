// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// autoModes are the modes that Auto tries, in order.
var autoModes = []v1alpha1.ProxyMode{v1alpha1.ModeNFTables, v1alpha1.ModeIPVS, v1alpha1.ModeIPTables}

// Dataplanes makes the dataplane of each mode that this build has.
type Dataplanes map[v1alpha1.ProxyMode]func() (dataplane.Dataplane, error)

// Errors of choosing a mode.
var (
	errUnsupported    = errors.New("this node can run none of the modes asked for")
	errNotImplemented = errors.New("not implemented in this version of the agent")
)

// demand is what a policy asks of a node's kernel.
type demand struct {
	modes     []v1alpha1.ProxyMode // in the policy's order
	scheduler string               // of modes that have schedulers
}

func demandOf(spec v1alpha1.NodeRuleSetSpec, scheduler string) demand {
	d := demand{modes: autoModes, scheduler: scheduler}
	if spec.Mode != v1alpha1.ModeAuto && spec.Mode != "" {
		d.modes = append([]v1alpha1.ProxyMode{spec.Mode}, spec.FallbackModes...)
	}
	return d
}

func (d demand) equal(other demand) bool {
	return d.scheduler == other.scheduler && slices.Equal(d.modes, other.modes)
}

// capability is what was found out about a mode on this node.
type capability struct {
	err        error // why it cannot run
	scheduling bool  // it has schedulers, namely these and maybe more:
	schedulers []string
	complete   bool // no more
	variant    string
}

// lacks says what is missing for the mode with a scheduler.
func (c capability) lacks(scheduler string) error {
	if c.err == nil && c.scheduling && !slices.Contains(c.schedulers, scheduler) {
		return fmt.Errorf("this kernel has no scheduler %s (module ip_vs_%s)", scheduler, scheduler)
	}
	return c.err
}

// modes is what this node can run.
type modes struct {
	dataplanes Dataplanes
	known      map[v1alpha1.ProxyMode]capability
}

func newModes(d Dataplanes) *modes {
	return &modes{dataplanes: d, known: map[v1alpha1.ProxyMode]capability{}}
}

// choose returns the first dataplane, in the policy's order, that this kernel can
// run as the policy wants it: the running one (nil: none is), or a new one. skipped
// says what those before it lack, err what each of them lacks.
func (m *modes) choose(ctx context.Context, want demand, running dataplane.Dataplane) (dp dataplane.Dataplane, skipped, err error) {
	var errs []error
	for _, mode := range want.modes {
		dp, err := m.try(ctx, mode, want.scheduler, running)
		if err == nil {
			return dp, errors.Join(errs...), nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", mode, err))
	}
	return nil, nil, errors.Join(append([]error{errUnsupported}, errs...)...)
}

// try opens the dataplane of a mode, unless it is running and known to have what
// is asked for: then that is what it returns.
func (m *modes) try(ctx context.Context, mode v1alpha1.ProxyMode, scheduler string, running dataplane.Dataplane) (dataplane.Dataplane, error) {
	inUse := running != nil && running.Mode() == mode
	if c, known := m.known[mode]; known && inUse && c.lacks(scheduler) == nil {
		return running, nil
	}
	dp, err := m.probe(ctx, mode, scheduler)
	if err != nil {
		return nil, err
	}
	if lack := m.known[mode].lacks(scheduler); lack != nil {
		return nil, errors.Join(lack, dp.Close())
	}
	if inUse {
		return running, dp.Close()
	}
	return dp, nil
}

// probe opens the dataplane of a mode and finds out what the kernel can do of it,
// with some schedulers or with all: each may be a module that has to be loaded.
func (m *modes) probe(ctx context.Context, mode v1alpha1.ProxyMode, schedulers ...string) (dataplane.Dataplane, error) {
	open := m.dataplanes[mode]
	if open == nil {
		return nil, errNotImplemented
	}
	dp, err := open()
	if err != nil {
		m.known[mode] = capability{err: err}
		return nil, err
	}
	c := capability{err: dp.Probe(ctx)}
	if c.err == nil {
		c.schedule(ctx, dp, schedulers)
		if v, ok := dp.(dataplane.Variant); ok {
			c.variant = v.Variant()
		}
	}
	m.known[mode] = c
	if c.err != nil {
		return nil, errors.Join(c.err, dp.Close())
	}
	return dp, nil
}

// schedule finds out which schedulers there are, if the dataplane has any.
func (c *capability) schedule(ctx context.Context, dp dataplane.Dataplane, names []string) {
	prober, ok := dp.(dataplane.SchedulerProber)
	if !ok {
		return
	}
	c.scheduling, c.complete = true, len(names) == 0
	c.schedulers, c.err = prober.ProbeSchedulers(ctx, names...)
}

// survey finds out what nobody has asked for yet.
func (m *modes) survey(ctx context.Context, running dataplane.Dataplane) error {
	var errs []error
	for mode := range m.dataplanes {
		c, known := m.known[mode]
		if known && (c.err != nil || !c.scheduling || c.complete) {
			continue
		}
		if known && running != nil && running.Mode() == mode {
			c.schedule(ctx, running, nil)
			m.known[mode] = c
			continue
		}
		// What is missing is no failure, but what is to be known.
		if dp, err := m.probe(ctx, mode); err == nil {
			errs = append(errs, dp.Close())
		}
	}
	return errors.Join(errs...)
}

// capabilities returns what is known, for the status.
func (m *modes) capabilities() []v1alpha1.ModeCapability {
	var out []v1alpha1.ModeCapability
	for _, mode := range slices.Sorted(maps.Keys(m.known)) {
		c := m.known[mode]
		reported := v1alpha1.ModeCapability{Mode: mode, Supported: c.err == nil, Variant: c.variant, Schedulers: c.schedulers}
		if c.err != nil {
			reported.Message = report.Truncate(report.OneLine(c.err.Error()), report.MaxCapabilityMessage)
		}
		out = append(out, reported)
	}
	return out
}

// choose opens the dataplane that the policy asks for, unless it is in use. A
// node that can run none of the modes keeps the one that it has.
func (l *Loop) choose(ctx context.Context) error {
	want := demandOf(l.node.Spec, l.settings.IPVS.Scheduler)
	if l.dp != nil && l.snapshot.Unsupported == nil && want.equal(l.demand) {
		return nil
	}
	l.chosen = l.clock.Now()
	dp, skipped, err := l.modes.choose(ctx, want, l.dp)
	if err != nil {
		return err
	}
	l.demand, l.snapshot.Skipped = want, skipped
	if l.dp == dp {
		return nil
	}
	if l.dp != nil {
		l.log.Info("Changing the mode", "from", l.dp.Mode(), "to", dp.Mode())
	}
	return l.change(ctx, dp)
}

// applySettings brings the node's settings into the table. Where the kernel cannot
// have what they ask for, the parameters of IPVS stay as they are: with a scheduler
// that it lacks, no changed Service could be programmed any more.
func (l *Loop) applySettings() {
	settings := l.settings
	if l.snapshot.Unsupported == nil {
		l.ipvs = settings.IPVS
	} else {
		settings.IPVS = l.ipvs
	}
	l.table.SetNode(settings)
}

// survey completes what is known of the kernel, when traffic does not wait for it.
// It says whether there is news.
func (l *Loop) survey(ctx context.Context) bool {
	if err := l.modes.survey(ctx, l.dp); err != nil {
		l.log.Error(err, "Failed to find out what this kernel can do")
	}
	before := l.snapshot.Capabilities
	l.snapshot.Capabilities = l.modes.capabilities()
	return !apiequality.Semantic.DeepEqual(before, l.snapshot.Capabilities)
}
