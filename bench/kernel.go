// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/go-logr/logr"
	kernel "github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/nftables"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// kernelResult are the measurements of the agent's packages, called directly.
type kernelResult struct {
	Resolve time.Duration // of all Services, into the table
	Sync    timed         // from an empty kernel
	Filled  int           // operations of that

	Changes    distribution // Resolve, Table, Flush, Apply of one changed endpoint
	Operations []int        // of a change, the distinct numbers that occurred

	Chains, Sets, Maps int

	Adopt timed // a Sync of a fresh dataplane, which finds nothing to do
}

// timed is a duration, and its system time.
type timed struct{ Total, Kernel time.Duration }

// stopwatch measures the calling thread.
type stopwatch struct {
	start  time.Time
	system time.Duration
}

func begin() (stopwatch, error) {
	system, err := systemTime()
	return stopwatch{time.Now(), system}, err
}

func (s stopwatch) stop() (timed, error) {
	total := time.Since(s.start)
	system, err := systemTime()
	return timed{total, system - s.system}, err
}

// systemTime is the system time of this thread.
func systemTime() (time.Duration, error) {
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_THREAD, &u)
	return time.Duration(u.Stime.Nano()), err
}

// distribution is the distribution of many durations.
type distribution struct{ P50, P99 time.Duration }

func distributionOf(all []time.Duration) distribution {
	all = slices.Sorted(slices.Values(all))
	at := func(percent int) time.Duration { return all[(len(all)-1)*percent/100] }
	return distribution{at(50), at(99)}
}

// loaded is a node with everything of a cluster in its table.
type loaded struct {
	cluster
	table *resolve.Table
	dp    dataplane.Dataplane
}

func measureKernel(ctx context.Context, c cluster, changes int) (r kernelResult, err error) {
	runtime.LockOSThread() // see stopwatch
	defer runtime.UnlockOSThread()
	dp, err := open()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, dp.Cleanup(ctx), dp.Close()) }()
	l := loaded{cluster: c, table: resolve.NewTable(), dp: dp}
	for _, step := range []func(context.Context, *kernelResult) error{
		l.fill, func(ctx context.Context, r *kernelResult) error { return l.change(ctx, r, changes) }, l.count, l.adopt,
	} {
		if err := step(ctx, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

func open() (dataplane.Dataplane, error) {
	return nftables.New(nftables.Options{Log: logr.Discard()})
}

// fill programs everything.
func (l *loaded) fill(ctx context.Context, r *kernelResult) error {
	compiled := make([]compile.Slice, l.services)
	for i := range compiled {
		var err error
		if compiled[i], err = l.slice(i, 0); err != nil {
			return err
		}
	}
	runtime.GC()
	settings, err := resolve.Settings(node())
	if err != nil {
		return err
	}
	l.table.SetNode(settings)
	start := time.Now()
	for i := range compiled {
		if err := l.resolve(&compiled[i].Spec); err != nil {
			return err
		}
	}
	l.table.Flush()
	r.Resolve = time.Since(start)
	var stats dataplane.Result
	stats, r.Sync, err = timedSync(ctx, l.dp, l.table)
	r.Filled = stats.Operations
	return err
}

func (l *loaded) resolve(spec *v1alpha1.ServiceRuleSliceSpec) error {
	id := model.ServiceID{Namespace: namespace, Name: spec.ServiceName, Family: corev1.IPv4Protocol}
	resolved, err := resolve.Service(resolve.Node{Name: nodeName, Spec: node()}, id, []*v1alpha1.ServiceRuleSliceSpec{spec})
	l.table.Set(id, resolved)
	return err
}

func timedSync(ctx context.Context, dp dataplane.Dataplane, table *resolve.Table) (dataplane.Result, timed, error) {
	watch, err := begin()
	if err != nil {
		return dataplane.Result{}, timed{}, err
	}
	stats, err := dp.Sync(ctx, table.Desired(), nil)
	if err != nil {
		return stats, timed{}, err
	}
	took, err := watch.stop()
	return stats, took, err
}

// change repeatedly replaces one endpoint of one Service.
func (l *loaded) change(ctx context.Context, r *kernelResult, changes int) error {
	var all []time.Duration
	next := l.changes()
	for range changes {
		slice, err := next()
		if err != nil {
			return err
		}
		start := time.Now()
		if err := l.resolve(&slice.Spec); err != nil {
			return err
		}
		stats, err := l.dp.Apply(ctx, l.table.Flush())
		if err != nil {
			return err
		}
		all = append(all, time.Since(start))
		r.Operations = append(r.Operations, stats.Operations)
	}
	slices.Sort(r.Operations)
	r.Operations = slices.Compact(r.Operations)
	r.Changes = distributionOf(all)
	return nil
}

// count counts what is in the kernel, in the tables of both families.
func (*loaded) count(_ context.Context, r *kernelResult) error {
	conn, err := kernel.New()
	if err != nil {
		return err
	}
	chains, err := conn.ListChains()
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	r.Chains = len(chains)
	for _, family := range []kernel.TableFamily{kernel.TableFamilyIPv4, kernel.TableFamilyIPv6} {
		sets, err := conn.GetSets(&kernel.Table{Family: family, Name: "fairlead"})
		if err != nil {
			return fmt.Errorf("list sets: %w", err)
		}
		for _, s := range sets {
			if s.IsMap {
				r.Maps++
			} else {
				r.Sets++
			}
		}
	}
	return nil
}

// adopt is the first Sync of an agent after a restart.
func (l *loaded) adopt(ctx context.Context, r *kernelResult) error {
	runtime.GC()
	fresh, err := open()
	if err != nil {
		return err
	}
	defer fresh.Close()
	var stats dataplane.Result
	stats, r.Adopt, err = timedSync(ctx, fresh, l.table)
	if err == nil && stats.Operations != 0 {
		err = fmt.Errorf("a new dataplane changes rules that are correct: %+v", stats)
	}
	return err
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}
