// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/engine"
	"github.com/fairlead-proxy/fairlead/agent/kubeproxy"
	"github.com/fairlead-proxy/fairlead/agent/modes"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// otherPause is the time from one change of another Service to the next.
const otherPause = 10 * time.Millisecond

// giantNode is the agent's loop with a real mode, without the API. What is programmed is
// seen at the dataplane.
type giantNode struct {
	cluster
	store  *source.Store
	finish func() error

	mu       sync.Mutex
	snapshot report.Snapshot
	cpu      time.Duration                   // at the end of the last step of the loop
	longest  time.Duration                   // processor time of a step
	began    map[string]other                // by Service, of changes that are not programmed yet
	took     []time.Duration                 // of the others
	giant    func(*model.Frontend) bool      // what the giant's frontends are to become
	seen     map[model.FrontendKey]time.Time // when they became it
}

// other is a change of another Service.
type other struct {
	at       time.Time
	endpoint netip.Addr // the new one
}

// observed reports what a dataplane has programmed.
type observed struct {
	dataplane.Dataplane
	done func(model.Change)
}

func (o observed) Apply(ctx context.Context, delta model.Delta) (dataplane.Result, error) {
	result, err := o.Dataplane.Apply(ctx, delta)
	if err == nil {
		for _, c := range delta.Frontends {
			o.done(c)
		}
	}
	return result, err
}

func (o observed) Sync(ctx context.Context, d model.Desired, options dataplane.Options) (dataplane.Result, error) {
	result, err := o.Dataplane.Sync(ctx, d, options)
	if err == nil {
		for key, f := range d.Frontends {
			o.done(model.Change{Key: key, New: f})
		}
	}
	return result, err
}

// noFlows leaves conntrack alone.
type noFlows struct{}

func (noFlows) Change(model.Delta) {}
func (noFlows) Programmed(bool)    {}
func (noFlows) Failure() error     { return nil }

// startGiantNode starts a node and programs all Services except the giant.
func startGiantNode(ctx context.Context, mode v1alpha1.ProxyMode) (*giantNode, error) {
	files, err := raiseFiles()
	if err != nil {
		return nil, fmt.Errorf("raise the limit of open files: %w", err)
	}
	fmt.Fprintln(os.Stderr, files, "open files are allowed")
	dir, err := os.MkdirTemp("", "fairlead-bench-")
	if err != nil {
		return nil, err
	}
	n := &giantNode{cluster: cluster{services: besideGiant}, store: source.NewStore(time.Now), began: map[string]other{}}
	journal, err := state.OpenJournal(dir, n.store.Snapshot, n.store.Wake, clock.RealClock{})
	if err != nil {
		return nil, err
	}
	revisions := state.OpenTrial(dir, n.store.Wake, clock.RealClock{})
	installed, err := state.OpenInstalledModes(dir)
	if err != nil {
		return nil, err
	}
	all := modes.All()
	for i, m := range all {
		all[i].Open = func(e dataplane.Env) (dataplane.Dataplane, error) {
			d, err := m.Open(e)
			return observed{d, n.done}, err
		}
	}
	loop := engine.New(engine.Config{NodeName: nodeName, Source: n.store, Modes: all, Env: dataplane.Env{Log: logr.Discard()},
		Journal: journal, Trial: revisions, Installed: installed, HealthChecks: func(model.NodeSettings, resolve.HealthChecks) {}, Flows: noFlows{},
		Tune:   func(*v1alpha1.ConntrackOptions) error { return nil },
		Untune: func() error { return nil }, KubeProxy: kubeproxy.New(func() {}, logr.Discard(), clock.RealClock{}),
		Report: n.stepped, Log: logr.Discard(), Clock: clock.RealClock{}})
	for i := range n.services {
		slice, err := n.slice(i, 0)
		if err != nil {
			return nil, err
		}
		n.put(slice)
	}
	n.store.ReplaceSlices(maps.Clone(n.specs()), true)
	spec := node()
	spec.Mode = mode
	n.store.SetNode(&source.NodeRules{UID: "bench", Generation: 1, Spec: spec})
	n.store.NodeSynced()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { loop.Run(ctx) })
	n.finish = func() error {
		cancel()
		running.Wait()
		return errors.Join(journal.Close(), revisions.Close(), os.RemoveAll(dir))
	}
	return n, n.await(ctx, func() bool { return n.snapshot.Programmed != nil })
}

func (n *giantNode) stop() error { return n.finish() }

// stepped is called after each step of the loop.
func (n *giantNode) stepped(s report.Snapshot) {
	cpu := cpuOfAll()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.snapshot, n.longest, n.cpu = s, max(n.longest, cpu-n.cpu), cpu
}

// cpuOfAll is the processor time of this process and of the programs that it has run.
func cpuOfAll() (sum time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}

// specs are all slices in the store.
func (n *giantNode) specs() map[string]*v1alpha1.ServiceRuleSliceSpec {
	_, slices := n.store.Snapshot()
	return slices
}

func (n *giantNode) put(s compile.Slice) {
	n.store.SetSlice(s.Name, &s.Spec, time.Time{})
}

// set writes slices of a version of the giant; afterwards each of its frontends has all
// endpoints.
func (n *giantNode) set(slices []compile.Slice, version int) {
	fresh := netip.MustParseAddr(nth("10.200.0.0", giantEndpoints+version))
	n.expect(func(f *model.Frontend) bool {
		return f != nil && len(f.Internal.Endpoints) == giantEndpoints && f.Internal.Endpoints[giantEndpoints-1].Addr() == fresh
	})
	for _, s := range slices {
		n.put(s)
	}
}

func (n *giantNode) remove(slices []compile.Slice) {
	n.expect(func(f *model.Frontend) bool { return f == nil })
	for _, s := range slices {
		n.store.SetSlice(s.Name, nil, time.Time{})
	}
}

func (n *giantNode) expect(state func(*model.Frontend) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.giant, n.seen = state, map[model.FrontendKey]time.Time{}
}

// done notes what is programmed.
func (n *giantNode) done(c model.Change) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := c.New
	if f == nil {
		f = c.Old
	}
	if f.Service.Name == giantName {
		if n.giant != nil && n.giant(c.New) {
			n.seen[c.Key] = time.Now()
		}
		return
	}
	o, waits := n.began[f.Service.Name]
	if waits && slices.ContainsFunc(f.Internal.Endpoints, func(e model.Endpoint) bool { return e.Addr() == o.endpoint }) {
		n.took = append(n.took, time.Since(o.at))
		delete(n.began, f.Service.Name)
	}
}

// phase makes a change of the giant, and returns when all of its frontends and all changes
// of the other Services are programmed.
func (n *giantNode) phase(ctx context.Context, frontends int, change func()) (p giantPhase, err error) {
	n.mu.Lock()
	n.took, n.longest, n.cpu = nil, 0, cpuOfAll()
	n.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() { failed <- n.changeOthers(ctx) }()
	time.Sleep(10 * otherPause)
	began := time.Now()
	change()
	err = n.await(ctx, func() bool { return len(n.seen) >= frontends })
	cancel()
	if err := errors.Join(err, <-failed); err != nil {
		return p, fmt.Errorf("%d of %d frontends: %w", len(n.seen), frontends, err)
	}
	for _, at := range n.seen {
		p.Took = max(p.Took, at.Sub(began))
	}
	if err := n.await(context.WithoutCancel(ctx), func() bool { return len(n.began) == 0 }); err != nil {
		return p, err
	}
	p.Others, p.Longest, p.Step = distributionOf(n.took), slices.Max(n.took), n.longest
	return p, nil
}

// changeOthers changes other Services until ctx ends.
func (n *giantNode) changeOthers(ctx context.Context) error {
	version, i := time.Now().UnixNano(), 0
	for tick := time.NewTicker(otherPause); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return nil
		case <-tick.C:
		}
		i = (i + 7) % n.services
		version++
		slice, err := n.slice(i, 0)
		if err != nil {
			return err
		}
		fresh := netip.AddrFrom4([4]byte{10, 201, byte(version >> 8), byte(version)})
		slice.Spec.Endpoints[0].Address = fresh.String()
		slice.Spec.Digest = model.Digest(slice.Spec)
		n.mu.Lock()
		_, waits := n.began[serviceName(i)]
		if !waits {
			n.began[serviceName(i)] = other{time.Now(), fresh}
		}
		n.mu.Unlock()
		if !waits {
			n.put(slice)
		}
	}
}

// await waits until something is so.
func (n *giantNode) await(ctx context.Context, so func() bool) error {
	for {
		n.mu.Lock()
		is := so()
		n.mu.Unlock()
		if is {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// limitations are those that the node reports.
func (n *giantNode) limitations() (out []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.snapshot.Limitations {
		out = append(out, fmt.Sprintf("%s: %d", l.Reason, l.Count))
	}
	return out
}

// giantFrontends returns how many frontends a node has for the giant.
func giantFrontends(compiled []compile.Slice) (int, error) {
	var parts []*v1alpha1.ServiceRuleSliceSpec
	for i := range compiled {
		parts = append(parts, &compiled[i].Spec)
	}
	id := model.ServiceID{Namespace: namespace, Name: giantName, Family: corev1.IPv4Protocol}
	resolved, err := resolve.Service(resolve.Node{Name: nodeName, Spec: node()}, id, parts)
	return len(resolved.Frontends), err
}
