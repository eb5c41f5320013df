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

	// share limits the part of the time that looks take: the kernel prints all rules of a
	// legacy table, which takes a second with those of 10,000 Services.
	share = 100

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

	mu     sync.Mutex
	last   finding
	found  *v1alpha1.KubeProxyStatus // with the message of failed
	wanted *v1alpha1.KubeProxyStatus // to be removed; nil: nothing is
	failed error                     // of the last removal
}

// finding is the result of a look.
type finding struct {
	status *v1alpha1.KubeProxyStatus // nil: neither kube-proxy nor rules of it
	// unsure says that the agent itself has the port by which kube-proxy is found: one that has
	// found the port in use may run.
	unsure bool
}

// New returns a Finder for the node, which has not looked yet. It calls changed when the result
// of Found changes.
func New(changed func(), log logr.Logger, clk clock.Clock) *Finder {
	look := func(ctx context.Context) (finding, error) { return look(ctx, (&net.Dialer{}).DialContext) }
	return &Finder{look: look, remove: Remove, changed: changed, log: log, clock: clk}
}

// Found returns what the last look has found; nil: neither kube-proxy nor rules of it, or the
// Finder has not looked yet. It must not be changed.
func (f *Finder) Found() *v1alpha1.KubeProxyStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.found
}

// Want says that the rules that were found are to be removed; nil: no rules are. This is done after
// the next look, unless that finds anything else: a kube-proxy that is about to start again, or
// finds its port free at last, has a minute to show itself.
func (f *Finder) Want(found *v1alpha1.KubeProxyStatus) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted = found
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
		select {
		case <-ctx.Done():
			return
		case <-f.clock.After(max(interval, share*f.clock.Since(began))):
		}
	}
}

// set keeps what was found. After an error the rest of it is what is certain.
func (f *Finder) set(last finding, err error) {
	found := last.status
	if err != nil {
		if found == nil {
			found = &v1alpha1.KubeProxyStatus{}
		}
		found.Message = message("Failed to look for rules of kube-proxy: ", err)
	}
	last.status = found
	f.mu.Lock()
	forgets := f.wanted == nil && f.failed != nil
	if forgets {
		f.failed = nil
	}
	same := reflect.DeepEqual(f.last, last) && !forgets
	if !same {
		f.last, f.found = last, last.shown(f.failed)
	}
	f.mu.Unlock()
	if same {
		return
	}
	switch {
	case err != nil:
		f.log.Error(err, "Failed to look for rules of kube-proxy, will retry")
	case found == nil:
		f.log.Info("The node has no kube-proxy any more, nor rules of it")
	default:
		f.log.Info("The node has a kube-proxy, or rules of it", "running", found.Running, "mode", found.Mode, "leftovers", found.Leftovers)
	}
	f.changed()
}

// removeWanted removes the rules that were found, if they are to be removed and no kube-proxy runs.
func (f *Finder) removeWanted(ctx context.Context) {
	f.mu.Lock()
	due := f.found != nil && f.found == f.wanted && !f.found.Running && !f.last.unsure
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
		f.last = finding{}
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
// connections from there. It returns nil if it finds neither kube-proxy nor rules of it. After an
// error it returns what it has found.
func Look(ctx context.Context, dial Dialer) (*v1alpha1.KubeProxyStatus, error) {
	found, err := look(ctx, dial)
	return found.status, err
}

func look(ctx context.Context, dial Dialer) (finding, error) {
	running, mode, unsure := running(ctx, dial)
	rules, err := readRules(ctx)
	if !running && len(rules) == 0 {
		return finding{}, err
	}
	if mode == "" {
		mode = rules.mode()
	}
	return finding{&v1alpha1.KubeProxyStatus{Running: running, Mode: mode, Leftovers: rules.names()}, unsure}, err
}
