// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fake is a Dataplane in memory, for tests of what uses dataplanes. It
// holds the rules that a kernel would hold, lets a test change them behind the
// agent's back, and fails when told to.
package fake

import (
	"context"
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
	Probe   Method = "Probe"
	Sync    Method = "Sync"
	Apply   Method = "Apply"
	Cleanup Method = "Cleanup"
	Close   Method = "Close"
)

// Call is a call that the Dataplane has answered.
type Call struct {
	Method Method
	Stats  dataplane.Stats
	Err    error
}

// Dataplane implements dataplane.Dataplane. All methods may be used while the
// agent uses it.
type Dataplane struct {
	mode v1alpha1.ProxyMode

	mu     sync.Mutex
	kernel model.Desired // what the pretended kernel holds
	last   model.Desired // what Sync and Apply have programmed
	synced bool          // a Sync succeeded and nothing has failed since
	ever   bool          // a Sync succeeded at some time: drift counts as repaired
	errs   map[Method][]error
	calls  []Call

	watchers map[int]func()
	lastID   int

	// Reading is how long a Sync says that it has read. Set it before the first.
	Reading time.Duration
}

var _ dataplane.Dataplane = (*Dataplane)(nil)

// Scheduling is a Dataplane of a mode that has schedulers.
type Scheduling struct {
	*Dataplane

	// Schedulers are those that the pretended kernel has.
	Schedulers []string
}

var _ dataplane.SchedulerProber = (*Scheduling)(nil)

// ProbeSchedulers returns those of Schedulers that are asked for.
func (d *Scheduling) ProbeSchedulers(_ context.Context, names ...string) ([]string, error) {
	return slices.DeleteFunc(slices.Clone(d.Schedulers), func(s string) bool {
		return len(names) > 0 && !slices.Contains(names, s)
	}), nil
}

// Retiring is a Dataplane whose connections end with it.
type Retiring struct {
	*Dataplane

	// Idle says that none is left.
	Idle bool
}

var _ dataplane.Retirer = (*Retiring)(nil)

// Retire returns Idle.
func (d *Retiring) Retire(context.Context, model.Desired) (bool, error) { return d.Idle, nil }

// Tracking is a Dataplane whose connections the kernel translates.
type Tracking struct {
	*Dataplane

	// Tracked and Lingered count the calls of Track and Linger.
	Tracked, Lingered int
}

var (
	_ dataplane.Tracker  = (*Tracking)(nil)
	_ dataplane.Lingerer = (*Tracking)(nil)
)

// Track counts.
func (d *Tracking) Track(context.Context) error {
	d.Tracked++
	return nil
}

// Linger counts.
func (d *Tracking) Linger(context.Context) error {
	d.Lingered++
	return nil
}

// Yielding is a Dataplane that opens connections itself.
type Yielding struct {
	*Dataplane

	// Yielded is called by Yield.
	Yielded func()
}

var _ dataplane.Yielder = (*Yielding)(nil)

// Yield calls Yielded.
func (d *Yielding) Yield(context.Context) error {
	d.Yielded()
	return nil
}

// New returns a Dataplane of the mode with an empty kernel.
func New(mode v1alpha1.ProxyMode) *Dataplane {
	return &Dataplane{
		mode:   mode,
		kernel: model.NewDesired(),
		last:   model.NewDesired(),
		errs:   map[Method][]error{},

		watchers: map[int]func(){},
	}
}

// Mode returns the mode given to New.
func (d *Dataplane) Mode() v1alpha1.ProxyMode { return d.mode }

// Probe succeeds unless told to fail.
func (d *Dataplane) Probe(ctx context.Context) error {
	_, err := d.call(ctx, Probe, func() (dataplane.Stats, error) { return dataplane.Stats{}, nil })
	return err
}

// Sync makes the kernel equal to desired.
func (d *Dataplane) Sync(ctx context.Context, desired model.Desired) (dataplane.Stats, error) {
	return d.call(ctx, Sync, func() (dataplane.Stats, error) {
		var stats dataplane.Stats
		if d.ever {
			drift := model.Diff(d.kernel, d.last)
			stats.Repaired = size(&drift)
		}
		delta := model.Diff(d.kernel, desired)
		stats.Operations = max(size(&delta), stats.Repaired)
		d.kernel, d.last = desired.Clone(), desired.Clone()
		d.synced, d.ever = true, true
		stats.Reading = d.Reading
		return stats, nil
	})
}

// Apply changes the kernel by a delta.
func (d *Dataplane) Apply(ctx context.Context, delta model.Delta) (dataplane.Stats, error) {
	return d.call(ctx, Apply, func() (dataplane.Stats, error) {
		if !d.synced {
			return dataplane.Stats{}, dataplane.ErrNotSynced
		}
		delta.Apply(&d.kernel)
		delta.Apply(&d.last)
		return dataplane.Stats{Operations: size(&delta)}, nil
	})
}

// Cleanup empties the kernel.
func (d *Dataplane) Cleanup(ctx context.Context) error {
	_, err := d.call(ctx, Cleanup, func() (dataplane.Stats, error) {
		d.kernel, d.last = model.NewDesired(), model.NewDesired()
		d.synced, d.ever = false, false
		return dataplane.Stats{}, nil
	})
	return err
}

// Close leaves the kernel as it is.
func (d *Dataplane) Close() error {
	_, err := d.call(context.Background(), Close, func() (dataplane.Stats, error) { return dataplane.Stats{}, nil })
	return err
}

// Fail makes the next calls of a method return these errors, one each. A nil
// error lets a call through.
func (d *Dataplane) Fail(m Method, errs ...error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.errs[m] = append(d.errs[m], errs...)
}

// Watch tells of every Drift.
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

// Drift changes the kernel behind the agent's back, and tells who watches.
func (d *Dataplane) Drift(change func(kernel *model.Desired)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.kernel)
	for _, changed := range d.watchers {
		changed()
	}
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
func (d *Dataplane) call(ctx context.Context, m Method, do func() (dataplane.Stats, error)) (dataplane.Stats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var stats dataplane.Stats
	err := ctx.Err()
	if due := d.errs[m]; err == nil && len(due) > 0 {
		err, d.errs[m] = due[0], due[1:]
	}
	if err == nil {
		stats, err = do()
	}
	if err != nil && (m == Sync || m == Apply) {
		// As in a real kernel, whose state is unknown then.
		d.synced = false
	}
	d.calls = append(d.calls, Call{Method: m, Stats: stats, Err: err})
	return stats, err
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
