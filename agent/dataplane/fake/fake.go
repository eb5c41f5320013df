// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fake is a Dataplane in memory, for tests of what uses dataplanes. It
// holds the rules that a kernel would hold, lets a test change them behind the
// agent's back, and fails when it is made to.
package fake

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Method names a method of the Dataplane.
type Method string

// The methods that are recorded and that can be made to fail.
const (
	Probe    Method = "Probe"
	Sync     Method = "Sync"
	Apply    Method = "Apply"
	Incoming Method = "Incoming"
	Outgoing Method = "Outgoing"
	Released Method = "Released"
	Inherit  Method = "Inherit"
	Cleanup  Method = "Cleanup"
	Close    Method = "Close"
)

// Call is a call that the Dataplane has answered.
type Call struct {
	Method Method
	Result dataplane.Result
	Err    error
}

// Dataplane implements dataplane.Dataplane. All methods may be used while the
// agent uses it.
type Dataplane struct {
	mu      sync.Mutex
	kernel  model.Desired // what the pretended kernel holds
	last    model.Desired // what Sync and Apply have programmed
	options dataplane.Options
	synced  bool // a Sync succeeded and nothing has failed since
	ever    bool // a Sync succeeded at some time: drift counts as repaired
	errs    map[Method][]error
	calls   []Call
	others  map[Method][]dataplane.Kind

	watchers map[int]func()
	lastID   int

	// What follows is set by the test before the agent uses the Dataplane, or between
	// two of its calls.

	// Reading and NextLook are those of each Result, Unsupported too.
	Reading, NextLook time.Duration
	Unsupported       []dataplane.Limitation

	// Variant is that of the capability. Schedulers are those of the pretended kernel;
	// nil: the mode has none. The options are then the name of the one that is needed.
	Variant    string
	Schedulers []string

	// Wait is what Released returns.
	Wait time.Duration
	// On is called within a method, before the method does anything.
	On func(Method)
}

var _ dataplane.Dataplane = (*Dataplane)(nil)

// Mode returns a mode whose Open returns one Dataplane again and again.
func Mode(name v1alpha1.ProxyMode, kind dataplane.Kind, d *Dataplane) dataplane.Mode {
	return dataplane.Mode{Name: name, Kind: kind, Open: func(dataplane.Env) (dataplane.Dataplane, error) { return d, nil }}
}

// New returns a Dataplane with an empty kernel.
func New() *Dataplane {
	return &Dataplane{
		kernel: model.NewDesired(),
		last:   model.NewDesired(),
		errs:   map[Method][]error{},
		others: map[Method][]dataplane.Kind{},

		watchers: map[int]func(){},
	}
}

// Probe succeeds unless made to fail, or a scheduler is not there.
func (d *Dataplane) Probe(ctx context.Context, o dataplane.Options) (dataplane.Capability, error) {
	_, err := d.call(ctx, Probe, func() (dataplane.Result, error) {
		if name, asked := o.(string); asked && d.Schedulers != nil && !slices.Contains(d.Schedulers, name) {
			return dataplane.Result{}, dataplane.Unsupported(fmt.Errorf("this kernel has no scheduler %s (module ip_vs_%s)", name, name))
		}
		return dataplane.Result{}, nil
	})
	return dataplane.Capability{Variant: d.Variant, Schedulers: d.Schedulers}, err
}

// Incoming is recorded, with the kind of the mode before.
func (d *Dataplane) Incoming(ctx context.Context, from dataplane.Kind) error {
	return d.handOver(ctx, Incoming, from)
}

// Outgoing is recorded, with the kind of the mode that comes.
func (d *Dataplane) Outgoing(ctx context.Context, to dataplane.Kind) error {
	return d.handOver(ctx, Outgoing, to)
}

func (d *Dataplane) handOver(ctx context.Context, m Method, other dataplane.Kind) error {
	_, err := d.call(ctx, m, func() (dataplane.Result, error) {
		d.others[m] = append(d.others[m], other)
		return dataplane.Result{}, nil
	})
	return err
}

// Others returns the kinds of the other modes in the successful calls of Incoming or Outgoing.
func (d *Dataplane) Others(m Method) []dataplane.Kind {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.others[m])
}

// Released returns Wait.
func (d *Dataplane) Released(ctx context.Context, _ dataplane.Kind, _ model.Desired, _ dataplane.Options) (time.Duration, error) {
	_, err := d.call(ctx, Released, func() (dataplane.Result, error) { return dataplane.Result{}, nil })
	return d.Wait, err
}

// Inherit is recorded.
func (d *Dataplane) Inherit() {
	_, _ = d.call(context.Background(), Inherit, func() (dataplane.Result, error) { return dataplane.Result{}, nil })
}

// Sync makes the kernel equal to desired. If it is interrupted, it applies only what
// differs from what was programmed.
func (d *Dataplane) Sync(ctx context.Context, desired model.Desired, o dataplane.Options) (dataplane.Result, error) {
	return d.call(ctx, Sync, func() (dataplane.Result, error) {
		var result dataplane.Result
		result.Reading, result.NextLook, result.Unsupported = d.Reading, d.NextLook, d.Unsupported
		if d.synced && dataplane.Interrupted(ctx, dataplane.Reading(ctx)) {
			delta := model.Diff(d.last, desired)
			delta.Apply(&d.kernel)
			d.last, d.options = desired.Clone(), o
			result.Operations, result.Interrupted = size(&delta), true
			return result, nil
		}
		if d.ever {
			drift := model.Diff(d.kernel, d.last)
			result.Repaired = size(&drift)
		}
		delta := model.Diff(d.kernel, desired)
		result.Operations = max(size(&delta), result.Repaired)
		d.kernel, d.last, d.options = desired.Clone(), desired.Clone(), o
		d.synced, d.ever = true, true
		return result, nil
	})
}

// Apply changes the kernel by a delta.
func (d *Dataplane) Apply(ctx context.Context, delta model.Delta) (dataplane.Result, error) {
	return d.call(ctx, Apply, func() (dataplane.Result, error) {
		if !d.synced {
			return dataplane.Result{}, dataplane.ErrNotSynced
		}
		delta.Apply(&d.kernel)
		delta.Apply(&d.last)
		return dataplane.Result{Operations: size(&delta), NextLook: d.NextLook, Unsupported: d.Unsupported}, nil
	})
}

// Cleanup empties the kernel.
func (d *Dataplane) Cleanup(ctx context.Context) error {
	_, err := d.call(ctx, Cleanup, func() (dataplane.Result, error) {
		d.kernel, d.last = model.NewDesired(), model.NewDesired()
		d.synced, d.ever = false, false
		return dataplane.Result{}, nil
	})
	return err
}

// Close leaves the kernel as it is.
func (d *Dataplane) Close() error {
	_, err := d.call(context.Background(), Close, func() (dataplane.Result, error) { return dataplane.Result{}, nil })
	return err
}

// Fail makes the next calls of a method return these errors, one each. A nil
// error lets a call through.
func (d *Dataplane) Fail(m Method, errs ...error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.errs[m] = append(d.errs[m], errs...)
}

// Watch calls changed after every Drift.
func (d *Dataplane) Watch(ctx context.Context, changed func()) error {
	d.mu.Lock()
	d.lastID++
	id := d.lastID
	d.watchers[id] = changed
	d.mu.Unlock()
	<-ctx.Done()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.watchers, id)
	return nil
}

// Drift changes the kernel behind the agent's back, and notifies those who watch.
func (d *Dataplane) Drift(change func(kernel *model.Desired)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.kernel)
	for _, changed := range d.watchers {
		changed()
	}
}

// Clear empties the kernel, without a notification.
func (d *Dataplane) Clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kernel = model.NewDesired()
}

// Watchers returns how many watch.
func (d *Dataplane) Watchers() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.watchers)
}

// Kernel returns a copy of what the kernel holds.
func (d *Dataplane) Kernel() model.Desired {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.kernel.Clone()
}

// Options returns those of the last successful Sync.
func (d *Dataplane) Options() dataplane.Options {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.options
}

// Calls returns the calls so far, the oldest first.
func (d *Dataplane) Calls() []Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

// Count returns how often a method was called.
func (d *Dataplane) Count(m Method) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, c := range d.calls {
		if c.Method == m {
			n++
		}
	}
	return n
}

// call runs do unless the context has ended or an error is due, and records.
func (d *Dataplane) call(ctx context.Context, m Method, do func() (dataplane.Result, error)) (dataplane.Result, error) {
	if d.On != nil {
		d.On(m)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var result dataplane.Result
	err := ctx.Err()
	if due := d.errs[m]; err == nil && len(due) > 0 {
		err, d.errs[m] = due[0], due[1:]
	}
	if err == nil {
		result, err = do()
	}
	if err != nil && (m == Sync || m == Apply) {
		// As in a real kernel, whose state is unknown then.
		d.synced = false
	}
	d.calls = append(d.calls, Call{Method: m, Result: result, Err: err})
	return result, err
}

// size counts the changed objects of a delta.
func size(d *model.Delta) int {
	n := len(d.Frontends) + len(d.ClusterIPs.Added) + len(d.ClusterIPs.Removed) +
		len(d.LocalEndpoints.Added) + len(d.LocalEndpoints.Removed)
	if d.Node != nil {
		n++
	}
	return n
}
