// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeproxy finds a kube-proxy that runs on the node, and the rules of one in the kernel,
// and removes these.
package kubeproxy

import (
	"context"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const (
	// interval is the time between two looks.
	interval = time.Minute

	// soonInterval is that while the node changes between kube-proxy and the agent. kube-proxy
	// tries a port that was in use again after five seconds.
	soonInterval = 10 * time.Second

	// share limits the part of the time that looks take: the kernel prints all rules of a
	// legacy table, which takes a second with those of 10,000 Services. soonShare is the limit
	// while the node changes.
	share     = 100
	soonShare = 10

	// maxMessage is the limit of status.kubeProxy.message, in bytes.
	maxMessage = 256
)

// Finder looks for kube-proxy from time to time, and removes what it has left.
type Finder struct {
	look    func(context.Context) (finding, error)
	remove  func(context.Context) error
	changed func()
	log     logr.Logger
	clock   clock.Clock
	sooner  chan struct{} // the next look is sooner than it was

	mu     sync.Mutex
	last   finding
	found  *v1alpha1.KubeProxyStatus // with the message of failed; nil: it has not looked yet
	wanted *v1alpha1.KubeProxyStatus // to be removed; nil: nothing is
	failed error                     // of the last removal
	soon   bool                      // the next look is soon
	serves looks                     // see Serves
}

// finding is the result of a look.
type finding struct {
	status *v1alpha1.KubeProxyStatus // nil: neither kube-proxy nor rules of it
	// unsure says that the agent itself has the port by which kube-proxy is found: one that has
	// found the port in use may run.
	unsure bool
	// serves says in which families kube-proxy has rules of Services in the kernel; it runs, and is healthy.
	serves served
}

// New returns a Finder for the node, which has not looked yet. It calls changed when the result
// of Found changes.
func New(changed func(), log logr.Logger, clk clock.Clock) *Finder {
	look := func(ctx context.Context) (finding, error) { return look(ctx, (&net.Dialer{}).DialContext) }
	return &Finder{look: look, remove: Remove, changed: changed, log: log, clock: clk, sooner: make(chan struct{}, 1), serves: looks{}}
}

// Found returns what the last look has found; nil: the Finder has not looked yet. It must not be
// changed.
func (f *Finder) Found() *v1alpha1.KubeProxyStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.found
}

// Want says that the rules that were found are to be removed; nil: no rules are. This is done after
// the next look, unless that finds anything else: a kube-proxy that is about to start again, or
// finds its port free at last, has until then to show itself.
func (f *Finder) Want(found *v1alpha1.KubeProxyStatus) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted = found
}

// LookSoon says whether the node changes between kube-proxy and the agent, which waits for what
// is found. When that begins, looks in which kube-proxy served the node do not count any more: the last
// one may be a minute ago, and the kube-proxy of then gone.
func (f *Finder) LookSoon(soon bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if soon && !f.soon {
		f.serves.begin()
		select {
		case f.sooner <- struct{}{}:
		default:
		}
	}
	f.soon = soon
}

// pause returns the time until the next look, after one that took some.
func (f *Finder) pause(took time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.soon {
		return max(soonInterval, soonShare*took)
	}
	return max(interval, share*took)
}

// Failure returns why rules cannot be removed that are to be removed; nil: nothing failed.
func (f *Finder) Failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// Run looks for kube-proxy until ctx ends.
func (f *Finder) Run(ctx context.Context) {
	for {
		began := f.clock.Now()
		found, err := f.look(ctx)
		if ctx.Err() != nil {
			return
		}
		f.set(found, err)
		f.removeWanted(ctx)
		if !f.wait(ctx, f.clock.Since(began)) {
			return
		}
	}
}

// wait returns when the next look is due, after one that took some time; false: ctx has ended.
func (f *Finder) wait(ctx context.Context, took time.Duration) bool {
	began := f.clock.Now()
	for {
		left := f.pause(took) - f.clock.Since(began)
		if left <= 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-f.sooner:
		case <-f.clock.After(left):
		}
	}
}

// set keeps what was found. After an error the rest of it is what is certain.
func (f *Finder) set(last finding, err error) {
	found := last.status
	if found == nil {
		found = &v1alpha1.KubeProxyStatus{}
	}
	if err != nil {
		found.Message = message("Failed to look for rules of kube-proxy: ", err)
	}
	last.status = found
	f.mu.Lock()
	forgets := f.wanted == nil && f.failed != nil
	if forgets {
		f.failed = nil
	}
	same, first := reflect.DeepEqual(f.last, last) && !forgets, f.found == nil
	counted := f.serves.count(last.serves)
	if !same {
		f.last, f.found = last, last.shown(f.failed)
	}
	f.mu.Unlock()
	if same {
		if counted {
			f.changed()
		}
		return
	}
	switch {
	case err != nil:
		f.log.Error(err, "Failed to look for rules of kube-proxy, will retry")
	case !found.IsGone():
		f.log.Info("The node has a kube-proxy, or rules of it", "running", found.Running, "mode", found.Mode, "leftovers", found.Leftovers)
	case !first:
		f.log.Info("The node has no kube-proxy any more, nor rules of it")
	}
	f.changed()
}

// removeWanted removes the rules that were found, if they are to be removed and no kube-proxy runs.
func (f *Finder) removeWanted(ctx context.Context) {
	f.mu.Lock()
	due := f.found != nil && f.found == f.wanted && len(f.found.Leftovers) > 0 && !f.found.Running && !f.last.unsure
	f.mu.Unlock()
	if !due {
		return
	}
	err := f.remove(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		f.log.Error(err, "Failed to remove the rules of kube-proxy, will retry")
	} else {
		f.log.Info("Removed the rules of kube-proxy")
	}
	f.mu.Lock()
	if f.failed = err; err == nil {
		f.last = finding{status: &v1alpha1.KubeProxyStatus{}}
	}
	before := f.found
	if after := f.last.shown(err); !reflect.DeepEqual(before, after) {
		f.found = after
	}
	same := before == f.found
	f.mu.Unlock()
	if !same {
		f.changed()
	}
}

// shown returns what is shown after a removal that has failed, or not.
func (l finding) shown(failed error) *v1alpha1.KubeProxyStatus {
	if failed == nil || l.status == nil || l.status.Message != "" {
		return l.status
	}
	out := *l.status
	out.Message = message("Failed to remove the rules of kube-proxy: ", failed)
	return &out
}

func message(what string, err error) string {
	return report.Truncate(report.OneLine(what+err.Error()), maxMessage)
}

// Look looks for kube-proxy in the network namespace of the calling thread; dial opens
// connections from there. It returns nil if it finds neither kube-proxy nor rules of it, and whether
// kube-proxy serves the node in some family. After an error it returns what it has found.
func Look(ctx context.Context, dial Dialer) (found *v1alpha1.KubeProxyStatus, serves bool, err error) {
	f, err := look(ctx, dial)
	return f.status, f.serves.in(""), err
}

func look(ctx context.Context, dial Dialer) (finding, error) {
	p := askProcess(ctx, dial)
	rules, err := readRules(ctx)
	if !p.running && len(rules) == 0 {
		return finding{}, err
	}
	var serves served
	if err == nil && p.running && p.healthy {
		serves = rules.serve(p.mode)
	}
	if p.mode == "" {
		p.mode = rules.mode()
	}
	return finding{&v1alpha1.KubeProxyStatus{Running: p.running, Mode: p.mode, Leftovers: rules.names()}, p.held, serves}, err
}
