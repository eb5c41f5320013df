// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package userspace proxies the connections to Services in the agent itself, on
// kernels without nftables and iptables.
//
// A route makes an address of a Service a local address of the node,
//
//	local 10.96.0.10 dev lo table local proto 173 src 192.168.0.2
//
// and a socket listens on each of its ports. The agent accepts a TCP connection, opens one
// to an endpoint, and moves data between the two, mostly inside the kernel (splice). A
// client of UDP has a session, which is a socket to an endpoint, until it has been silent
// for a time. The kernel itself refuses packets to other ports. A route (blackhole) drops
// packets to unallocated addresses of a ServiceCIDR.
//
// A socket filter (classic BPF) drops the packets of clients that are not allowed to use a
// frontend, before anything is answered. A client is internal, a Pod or a process of the
// node, by its address and by the link that its packet arrived by.
//
// Our routes are recognized by their protocol number. They stay when the agent ends; its
// sockets and connections cannot. While connections outlive their Service, the route to
// its address stays until the last of them is closed.
//
// One changed endpoint changes a list in memory and nothing in the kernel.
package userspace

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Options are the parameters of New.
type Options struct {
	// NetNS is a file descriptor of the network namespace to program, which the caller
	// keeps open; 0 is the network namespace of the calling thread.
	NetNS int

	// Sysctls are the kernel's parameters.
	Sysctls sysctl.Tree

	// Connections are those of the process; nil: this Dataplane has its own.
	Connections *Connections

	Log logr.Logger
}

// Dataplane implements dataplane.Dataplane.
type Dataplane struct {
	log     logr.Logger
	sysctls sysctl.Tree
	netns   int
	clock   clock.PassiveClock
	proxy   *proxy
	routing *routing

	known    bool      // the last Sync or Apply succeeded
	released time.Time // when another mode took over; zero: this mode is active
	hungUp   bool      // the sockets are closed since then
	synced   time.Time // when the last Sync began
	desired  model.Desired
	noIPv6   error

	frontends  map[model.FrontendKey]*frontend
	affinities *affinities
	vips       map[netip.Addr]int // the frontends on each virtual address
	leftOut    dataplane.LeftOut
	broken     int            // sockets that others have closed
	refuses    map[error]bool // connections were refused lately, by the reason

	// places are where our sockets are; proxies look them up all the time.
	places sync.Map // of place to struct{}
}

var _ dataplane.Dataplane = (*Dataplane)(nil)

// New returns a Dataplane for a network namespace.
func New(o Options) (*Dataplane, error) {
	t, err := openTable(o.NetNS)
	if err != nil {
		return nil, err
	}
	if o.Connections == nil {
		o.Connections = NewConnections()
	}
	return newDataplane(o, t, clock.RealClock{}), nil
}

func newDataplane(o Options, t table, clk clock.PassiveClock) *Dataplane {
	d := &Dataplane{log: o.Log, sysctls: o.Sysctls, netns: o.NetNS, clock: clk, affinities: newAffinities(), refuses: map[error]bool{},
		routing: newRouting(t, o.NetNS, o.Connections)}
	d.proxy = &proxy{netns: o.NetNS, open: o.Connections, udp: defaultUDPTimeouts, changed: d.routing.wake, isOurs: d.isOurs,
		tracking: newTracking(o.NetNS, clk)}
	d.reset()
	return d
}

func (d *Dataplane) reset() {
	d.known = false
	d.frontends, d.vips, d.leftOut = map[model.FrontendKey]*frontend{}, map[netip.Addr]int{}, dataplane.LeftOut{}
	d.routing.reset()
}

// isOurs says whether one of our sockets is at a place.
func (d *Dataplane) isOurs(p place) bool {
	_, ok := d.places.Load(p)
	return ok
}

// Sync makes routes and sockets equal to the desired state.
func (d *Dataplane) Sync(_ context.Context, desired model.Desired, _ dataplane.Options) (stats dataplane.Result, err error) {
	if d.synced.IsZero() || !d.released.IsZero() {
		d.proxy.tracking.expect()
	}
	d.desired, d.synced = desired.Clone(), d.clock.Now()
	d.known, d.hungUp, d.released = false, false, time.Time{} // known: set when Sync succeeds
	d.prepareIPv6()
	began := d.clock.Now()
	found, err := d.routing.read(desired.Node)
	if err != nil {
		return dataplane.Result{}, err
	}
	stats.Reading = d.clock.Since(began)
	d.broken = 0
	defer func() { stats.Repaired = min(found+d.broken, stats.Operations) }()
	for key := range d.frontends {
		if f := desired.Frontends[key]; f == nil || d.isLeftOut(key) {
			stats.Operations += d.takeDown(key)
		}
	}
	d.leftOut.Clear(dataplane.ReasonIPv6)
	wanted := make(map[route]struct{}, len(desired.Frontends))
	affine := map[model.FrontendKey]struct{}{}
	for key, f := range desired.Frontends {
		if d.isLeftOut(key) {
			d.leftOut.NoIPv6(d.noIPv6, key, f)
			continue
		}
		n, err := d.putUp(f)
		stats.Operations += n
		if err != nil {
			return stats, err
		}
		if f.AffinityTimeoutSeconds > 0 {
			affine[f.Home()] = struct{}{}
		}
	}
	d.affinities.tidy(affine, d.clock.Now())
	for a := range d.vips {
		if !d.routing.isOwn(a) {
			wanted[routeTo(a)] = struct{}{}
		}
	}
	for _, cidr := range desired.Node.ServiceCIDRs {
		if r := (route{cidr.Masked()}); r.isGuard() && (r.Addr().Is4() || d.noIPv6 == nil) {
			wanted[r] = struct{}{}
		}
	}
	n, err := d.routing.set(wanted)
	stats.Operations += n
	d.report(&stats)
	d.routing.adopted, d.known = d.routing.adopted || err == nil, err == nil
	return stats, err
}

// Apply applies a delta to routes and sockets.
func (d *Dataplane) Apply(ctx context.Context, delta model.Delta) (stats dataplane.Result, err error) {
	if !d.known {
		return dataplane.Result{}, dataplane.ErrNotSynced
	}
	delta.Apply(&d.desired)
	if delta.Node != nil {
		return d.Sync(ctx, d.desired, nil)
	}
	d.known = false // until Apply succeeds
	touched := map[netip.Addr]struct{}{}
	for _, c := range delta.Frontends {
		if d.isLeftOut(c.Key) {
			d.leftOut.NoIPv6(d.noIPv6, c.Key, c.New)
			continue
		}
		n := 0
		if c.New == nil {
			n = d.takeDown(c.Key)
		} else if n, err = d.putUp(c.New); err != nil {
			return stats, err
		}
		stats.Operations += n
		if !c.Key.IsNodePort() {
			touched[c.Key.Address] = struct{}{}
		}
	}
	var errs []error
	for a := range touched {
		n, err := d.routing.follow(a, d.vips[a] > 0)
		stats.Operations += n
		errs = append(errs, err)
	}
	d.report(&stats)
	err = errors.Join(errs...)
	d.known = err == nil
	return stats, err
}

// Close closes the sockets and the netlink handle, and leaves the routes as they are. Open
// connections go on as long as the process runs.
func (d *Dataplane) Close() error {
	d.hangUp()
	return d.routing.table.close()
}

// hangUp closes all sockets.
func (d *Dataplane) hangUp() {
	for key := range d.frontends {
		d.takeDown(key)
	}
}

// isLeftOut says whether a frontend is of a family that this node does not support.
func (d *Dataplane) isLeftOut(key model.FrontendKey) bool {
	return key.Address.Is6() && d.noIPv6 != nil
}

// prepareIPv6 finds out whether the node supports IPv6.
func (d *Dataplane) prepareIPv6() {
	had := d.noIPv6 == nil
	_ = netdev.Do(d.netns, func() error {
		d.noIPv6 = netdev.IPv6Error(d.sysctls)
		return nil
	})
	if had && d.noIPv6 != nil {
		d.log.Info("IPv6 is not available; only IPv4 is programmed", "reason", d.noIPv6.Error())
	}
}
