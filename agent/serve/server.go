// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package serve answers load balancers, the kubelet and Prometheus.
//
//	kube-proxy's ports: /healthz, /livez; /metrics   Ports: opened once they are free
//	a port of the agent's own: /livez, /readyz       serveProbes: open, or the agent ends
//
// kube-proxy may run on the node and hold its ports. So the kubelet's probes have a port of
// their own: on kube-proxy's they would get kube-proxy's answers.
package serve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/serve/httpserver"
)

// Addresses are where the agent serves; empty: it does not.
type Addresses struct {
	// Health serves /healthz and /livez for load balancers, Metrics /metrics and
	// /proxyMode. Other programs may hold them for some time.
	Health, Metrics string

	// Probe serves /livez and /readyz for the kubelet. It must be free.
	Probe string
}

// Left returns the addresses that are left to kube-proxy.
func (a Addresses) Left(s report.Snapshot) []string {
	switch {
	case s.GivesBack():
		return []string{a.Health, a.Metrics}
	case s.TakesOver():
		return []string{a.Metrics}
	}
	return nil
}

// Start serves until ctx ends. failed gets an error if the kubelet gets no answers any more.
func Start(ctx context.Context, at Addresses, h *Health, ports *Ports, group *sync.WaitGroup) (failed <-chan error, err error) {
	ended := make(chan error, 1)
	if at.Probe != "" {
		wait, err := serveProbes(ctx, at.Probe, h.forKubelet(), ports.log)
		if err != nil {
			return nil, err
		}
		group.Go(func() {
			if err := wait(); err != nil {
				ended <- err
			}
		})
	}
	for address, handler := range map[string]http.Handler{at.Health: h.forBalancers(), at.Metrics: h.forMetrics()} {
		if address != "" {
			group.Go(func() { ports.serve(ctx, address, handler) })
		}
	}
	return ended, nil
}

// Ports serves at addresses that another program may hold for some time.
type Ports struct {
	log     logr.Logger
	clock   clock.Clock
	changed func() // called when the result of Failure changes

	mu     sync.Mutex
	failed map[string]error // by address
	left   []string         // the addresses that are left to kube-proxy
	moved  chan struct{}    // closed, and replaced, when left changes
}

// NewPorts returns Ports that serve nothing yet; changed is called when the result of
// Failure changes.
func NewPorts(log logr.Logger, clk clock.Clock, changed func()) *Ports {
	return &Ports{log: log, clock: clk, changed: changed, failed: map[string]error{}, moved: make(chan struct{})}
}

// Leave leaves some addresses to kube-proxy, until it is called without them.
func (p *Ports) Leave(addresses ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Equal(p.left, addresses) {
		return
	}
	p.left = addresses
	close(p.moved)
	p.moved = make(chan struct{})
}

// leaves says whether an address is left to kube-proxy, until the channel is closed.
func (p *Ports) leaves(address string) (left bool, until <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.left, address), p.moved
}

// whileServed returns a context that ends when an address is to be left to kube-proxy.
func (p *Ports) whileServed(ctx context.Context, address string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for {
			left, until := p.leaves(address)
			if left {
				cancel()
			}
			select {
			case <-ctx.Done():
				return
			case <-until:
			}
		}
	}()
	return ctx, cancel
}

// Failure returns why addresses are not served; nil: all are.
func (p *Ports) Failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, address := range slices.Sorted(maps.Keys(p.failed)) {
		errs = append(errs, p.failed[address])
	}
	return errors.Join(errs...)
}

// serve answers at an address until ctx ends, except while it is left to kube-proxy. It retries
// as long as the address cannot be opened.
func (p *Ports) serve(ctx context.Context, address string, handler http.Handler) {
	retry := httpserver.Retry()
	for ctx.Err() == nil {
		if left, until := p.leaves(address); left {
			p.set(address, nil)
			select {
			case <-ctx.Done():
			case <-until:
			}
			continue
		}
		serving, stop := p.whileServed(ctx, address)
		err := listenAndServe(serving, address, handler, p.log, func() {
			retry.Reset()
			p.set(address, nil)
		})
		left := serving.Err() != nil
		stop()
		if ctx.Err() != nil || left {
			continue
		}
		p.set(address, err)
		select {
		case <-ctx.Done():
		case <-p.clock.After(retry.Next()):
		}
	}
}

// set notes why an address is not served; nil: it is.
func (p *Ports) set(address string, err error) {
	p.mu.Lock()
	before := p.failed[address]
	if err == nil {
		delete(p.failed, address)
	} else {
		p.failed[address] = err
	}
	p.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		p.log.Error(err, "Failed to serve, will retry", "address", address)
	case err == nil && before != nil:
		p.log.Info("Serves at last", "address", address)
	default:
		return
	}
	p.changed()
}

// serveProbes answers the kubelet at an address until ctx ends. An address in use is an
// error at once: it is the agent's own, and two agents on one node would hide from each
// other.
func serveProbes(ctx context.Context, address string, handler http.Handler, log logr.Logger) (wait func() error, err error) {
	done, opened := make(chan error, 1), make(chan struct{})
	go func() { done <- listenAndServe(ctx, address, handler, log, func() { close(opened) }) }()
	select {
	case err := <-done:
		return nil, err
	case <-opened:
		return func() error { return <-done }, nil
	}
}

// listenAndServe answers at an address until ctx ends, which is no error. It calls opened
// once the address is open.
func listenAndServe(ctx context.Context, address string, handler http.Handler, log logr.Logger, opened func()) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err // it names the address
	}
	server := httpserver.New(handler, log)
	defer context.AfterFunc(ctx, func() { server.Close() })()
	opened()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", address, err)
	}
	return nil
}
