// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Errors of choosing a mode.
var (
	errUnsupported    = errors.New("this node can run none of the modes asked for")
	errNotImplemented = errors.New("not implemented in this version of the agent")
)

// openMode is a mode that is open.
type openMode struct {
	dataplane.Dataplane
	mode    dataplane.Mode
	syncing *Syncing
	clock   clock.PassiveClock
}

// Mode is the name.
func (o *openMode) Mode() v1alpha1.ProxyMode { return o.mode.Name }

// isProxy says whether connection tracking has nothing of the mode.
func (o *openMode) isProxy() bool { return o.mode.Kind == dataplane.Proxy }

// demand is what a policy asks of a node's kernel.
type demand struct {
	modes   []v1alpha1.ProxyMode // in the policy's order
	options map[v1alpha1.ProxyMode]dataplane.Options
}

func (d demand) equal(other demand) bool {
	return slices.Equal(d.modes, other.modes) && reflect.DeepEqual(d.options, other.options)
}

// nodeModes is what this node can run.
type nodeModes struct {
	list  []dataplane.Mode
	env   dataplane.Env
	clock clock.PassiveClock
	known map[v1alpha1.ProxyMode]capability
	tried map[v1alpha1.ProxyMode]attempt

	syncing Syncing
}

// capability is what was found out about a mode on this node, whatever its options.
type capability struct {
	dataplane.Capability
	err error // why it cannot run
}

// attempt is the last one to take a mode into use.
type attempt struct {
	options dataplane.Options
	err     error // why that is not possible
	failed  bool  // it could be probed and not be programmed
	retry   dataplane.Retry
}

func newNodeModes(list []dataplane.Mode, env dataplane.Env, clk clock.PassiveClock) *nodeModes {
	return &nodeModes{list: list, env: env, clock: clk, known: map[v1alpha1.ProxyMode]capability{}, tried: map[v1alpha1.ProxyMode]attempt{}}
}

// byName returns a mode; nil: this build does not have it.
func (m *nodeModes) byName(name v1alpha1.ProxyMode) *dataplane.Mode {
	for i := range m.list {
		if m.list[i].Name == name {
			return &m.list[i]
		}
	}
	return nil
}

// auto returns the modes that Auto tries, in order.
func (m *nodeModes) auto() []v1alpha1.ProxyMode {
	ranked := slices.DeleteFunc(slices.Clone(m.list), func(mode dataplane.Mode) bool { return mode.AutoRank == 0 })
	slices.SortStableFunc(ranked, func(a, b dataplane.Mode) int { return cmp.Compare(a.AutoRank, b.AutoRank) })
	var out []v1alpha1.ProxyMode
	for _, mode := range ranked {
		out = append(out, mode.Name)
	}
	return out
}

// demand returns what a node's rules ask for. The error names malformed options.
func (m *nodeModes) demand(spec v1alpha1.NodeRuleSetSpec) (demand, error) {
	d := demand{modes: m.auto(), options: map[v1alpha1.ProxyMode]dataplane.Options{}}
	if spec.Mode != v1alpha1.ModeAuto && spec.Mode != "" {
		d.modes = append([]v1alpha1.ProxyMode{spec.Mode}, spec.FallbackModes...)
	}
	var errs []error
	for _, mode := range m.list {
		o, err := mode.ParseOptions(spec)
		d.options[mode.Name] = o
		errs = append(errs, err)
	}
	return d, errors.Join(errs...)
}

// open opens a mode.
func (m *nodeModes) open(name v1alpha1.ProxyMode) (*openMode, error) {
	mode := m.byName(name)
	if mode == nil {
		return nil, dataplane.Unsupported(errNotImplemented)
	}
	env := m.env
	env.Log = env.Log.WithName(strings.ToLower(string(name)))
	d, err := mode.Open(env)
	if err != nil {
		return nil, err
	}
	return &openMode{d, *mode, &m.syncing, m.clock}, nil
}

// choose returns the first mode, in the policy's order, that this kernel can run as
// the policy wants it: one that is open (nil: none), or a new one. skipped says what
// those before it cannot do, err what each of them cannot.
func (m *nodeModes) choose(ctx context.Context, want demand, open ...*openMode) (chosen *openMode, skipped, err error) {
	var errs []error
	for _, name := range want.modes {
		o, err := m.try(ctx, name, want.options[name], open)
		if err == nil {
			return o, errors.Join(errs...), nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	return nil, nil, errors.Join(append([]error{errUnsupported}, errs...)...)
}

// try opens a mode, unless it is open and known to have what is asked for: then that is
// what it returns. What has failed is not tried again before its time. A mode that is
// open is not given up for a failure of this moment.
func (m *nodeModes) try(ctx context.Context, name v1alpha1.ProxyMode, options dataplane.Options, open []*openMode) (*openMode, error) {
	var inUse *openMode
	for _, o := range open {
		if o != nil && o.Mode() == name {
			inUse = o
		}
	}
	a, known := m.tried[name]
	if known && reflect.DeepEqual(a.options, options) {
		if a.err == nil && inUse != nil {
			return inUse, nil
		}
		if a.err != nil && a.retry.Wait(m.clock.Now()) > 0 {
			return nil, a.err
		}
	}
	o, err := m.probe(ctx, name, options)
	a.options, a.err, a.failed = options, err, false
	if err != nil {
		a.retry.Failed(m.clock.Now(), err)
	}
	m.tried[name] = a
	switch {
	case inUse == nil:
		return o, err
	case err == nil:
		return inUse, o.Close()
	case errors.Is(err, dataplane.ErrUnsupported):
		return nil, err
	}
	return inUse, nil
}

// failed notes that a mode that was probed could not be programmed.
func (m *nodeModes) failed(name v1alpha1.ProxyMode, options dataplane.Options, err error) {
	a := m.tried[name]
	a.options, a.err, a.failed = options, err, true
	a.retry.Failed(m.clock.Now(), err)
	m.tried[name] = a
}

// succeeded notes that a mode was programmed: the next failure is the first one.
func (m *nodeModes) succeeded(name v1alpha1.ProxyMode) {
	a := m.tried[name]
	a.err, a.failed, a.retry = nil, false, dataplane.Retry{}
	m.tried[name] = a
}

// probe opens a mode and finds out what the kernel can do of it: with some options, or
// everything.
func (m *nodeModes) probe(ctx context.Context, name v1alpha1.ProxyMode, options dataplane.Options) (*openMode, error) {
	o, err := m.open(name)
	if err != nil {
		if !errors.Is(err, errNotImplemented) {
			m.known[name] = capability{err: err}
		}
		return nil, err
	}
	found, err := o.Probe(ctx, options)
	if options == nil {
		m.known[name] = capability{found, err}
	}
	if err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// wait is after which time to try again what has failed of the running mode and of those
// that come before it.
func (m *nodeModes) wait(want demand, running *openMode) (wait time.Duration, failed bool) {
	for _, name := range want.modes {
		if a := m.tried[name]; a.err != nil {
			if w := a.retry.Wait(m.clock.Now()); !failed || w < wait {
				wait, failed = w, true
			}
		}
		if running != nil && running.Mode() == name {
			break
		}
	}
	return wait, failed
}

// forget has what has failed tried again, whatever its time: the policy has changed.
func (m *nodeModes) forget() {
	maps.DeleteFunc(m.tried, func(_ v1alpha1.ProxyMode, a attempt) bool { return a.err != nil })
}

// survey finds out what was not asked for yet.
func (m *nodeModes) survey(ctx context.Context) error {
	var errs []error
	for _, mode := range m.list {
		if _, known := m.known[mode.Name]; known {
			continue
		}
		// What is missing is no failure, but what is to be known.
		if o, err := m.probe(ctx, mode.Name, nil); err == nil {
			errs = append(errs, o.Close())
		}
	}
	return errors.Join(errs...)
}

// capabilities returns what is known, for the status.
func (m *nodeModes) capabilities() []v1alpha1.ModeCapability {
	var out []v1alpha1.ModeCapability
	for _, mode := range slices.Sorted(maps.Keys(m.known)) {
		c := m.known[mode]
		if a := m.tried[mode]; a.failed {
			c.err = a.err
		}
		reported := v1alpha1.ModeCapability{Mode: mode, Supported: c.err == nil, Variant: c.Variant, Schedulers: c.Schedulers}
		if c.err != nil {
			reported.Message = report.Truncate(report.OneLine(c.err.Error()), report.MaxCapabilityMessage)
		}
		out = append(out, reported)
	}
	return out
}

// choose makes the mode that the policy asks for the candidate, unless it is active. A
// node that can run none of the modes keeps the one that it has, with the options that
// it has: those that the kernel cannot have would stop all changes.
func (l *Loop) choose(ctx context.Context) error {
	if !l.want.equal(l.demand) {
		l.modes.forget()
	}
	l.demand = l.want
	open := []*openMode{l.dp}
	if l.candidate != nil {
		open = append(open, l.candidate.openMode)
	}
	o, skipped, err := l.modes.choose(ctx, l.demand, open...)
	l.adopt(ctx, o)
	if err != nil {
		// Where no mode is active, the candidate is better than nothing.
		if l.candidate != nil && (l.dp != nil || !slices.Contains(l.demand.modes, l.candidate.Mode())) {
			l.drop()
		}
		return err
	}
	l.problems[report.FallbackMode] = nil
	if skipped != nil {
		l.problems[report.FallbackMode] = fmt.Errorf("Runs %s, as the policy's fallbackModes allow, and not %w", o.Mode(), skipped)
	}
	options := l.demand.options[o.Mode()]
	switch {
	case o == l.dp:
		l.drop()
		if !reflect.DeepEqual(l.options, options) {
			l.options, l.needSync = options, true
		}
	case l.candidate != nil && o == l.candidate.openMode:
		l.candidate.options = options
	default:
		l.nominate(ctx, o, options)
	}
	return nil
}

// survey completes what is known of the kernel, when traffic does not wait for it.
// It says whether anything is different.
func (l *Loop) survey(ctx context.Context) bool {
	if err := l.modes.survey(ctx); err != nil {
		l.log.Error(err, "Failed to find out what this kernel can do")
	}
	before := l.capabilities
	l.capabilities = l.modes.capabilities()
	return !apiequality.Semantic.DeepEqual(before, l.capabilities)
}
