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

// Finder looks for kube-proxy from time to time.
type Finder struct {
	look    func(context.Context) (*v1alpha1.KubeProxyStatus, error)
	changed func()
	log     logr.Logger
	clock   clock.Clock

	mu    sync.Mutex
	found *v1alpha1.KubeProxyStatus
}

// New returns a Finder for the node, which has not looked yet. It calls changed when the result
// of Found changes.
func New(changed func(), log logr.Logger, clk clock.Clock) *Finder {
	look := func(ctx context.Context) (*v1alpha1.KubeProxyStatus, error) {
		return Look(ctx, (&net.Dialer{}).DialContext)
	}
	return &Finder{look: look, changed: changed, log: log, clock: clk}
}

// Found returns what the last look has found; nil: neither kube-proxy nor rules of it, or the
// Finder has not looked yet. It must not be changed.
func (f *Finder) Found() *v1alpha1.KubeProxyStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.found
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
		select {
		case <-ctx.Done():
			return
		case <-f.clock.After(max(interval, share*f.clock.Since(began))):
		}
	}
}

// set keeps what was found. After an error the rest of it is what is certain.
func (f *Finder) set(found *v1alpha1.KubeProxyStatus, err error) {
	if err != nil {
		if found == nil {
			found = &v1alpha1.KubeProxyStatus{}
		}
		found.Message = report.Truncate(report.OneLine("Failed to look for rules of kube-proxy: "+err.Error()), maxMessage)
	}
	f.mu.Lock()
	before := f.found
	f.found = found
	f.mu.Unlock()
	if reflect.DeepEqual(before, found) {
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

// Look looks for kube-proxy in the network namespace of the calling thread; dial opens
// connections from there. It returns nil if it finds neither kube-proxy nor rules of it. After an
// error it returns what it has found.
func Look(ctx context.Context, dial Dialer) (*v1alpha1.KubeProxyStatus, error) {
	running, mode := running(ctx, dial)
	rules, err := readRules(ctx)
	if !running && len(rules) == 0 {
		return nil, err
	}
	if mode == "" {
		mode = rules.mode()
	}
	return &v1alpha1.KubeProxyStatus{Running: running, Mode: mode, Leftovers: rules.names()}, err
}
