// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nftables programs Services into nftables, over netlink and without the nft
// program: package nattable provides the tables, with the target DNAT.
//
// Node ports on localhost need a second, small table, see package routelocalnet.
package nftables

import (
	"context"
	"net/netip"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/localhost"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/nattable"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/agent/kernel/routelocalnet"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Options are the parameters of New.
type Options struct {
	// NetNS is a file descriptor of the network namespace to program, which the
	// caller keeps open; 0 is the namespace of the calling thread.
	NetNS int

	Log logr.Logger

	// Sysctls are the kernel parameters of that network namespace; nil: those that the
	// calling thread sees.
	Sysctls sysctl.Parameters

	// Localhost are the modes of this node with node ports on localhost; nil: it is
	// the only one.
	Localhost *routelocalnet.Owner

	// BatchSize is that of nattable.Options.
	BatchSize int

	// Failures counts failed Syncs and Applies; nil: they are not counted.
	Failures prometheus.Counter
}

// Dataplane implements dataplane.Dataplane.
type Dataplane struct {
	netns     int
	nft       *nft.Client
	clock     clock.PassiveClock
	tables    *nattable.Tables
	localhost *localhost.Ports
	leftOut   dataplane.LeftOut
	released  time.Time // when a Proxy took over; zero: this mode is active
	failures  prometheus.Counter
}

var _ dataplane.Dataplane = (*Dataplane)(nil)

// New returns a Dataplane for a network namespace.
func New(o Options) (*Dataplane, error) {
	c, err := nft.Dial(o.NetNS)
	if err != nil {
		return nil, nattable.Classify(err)
	}
	if o.Sysctls == nil {
		o.Sysctls = sysctl.Tree{}
	}
	if o.Failures == nil {
		o.Failures = newFailures()
	}
	addresses := func() ([]netip.Addr, error) { return netdev.AddressesOf(netdev.Namespace(o.NetNS)) }
	return &Dataplane{
		netns: o.NetNS,
		nft:   c,
		clock: clock.RealClock{},
		tables: nattable.New(nattable.Options{Client: c, Target: nattable.DNAT(), Log: o.Log, Addresses: addresses,
			BatchSize: o.BatchSize}),
		localhost: localhost.New(routelocalnet.NewTable(c), o.Sysctls, o.Localhost),
		failures:  o.Failures,
	}, nil
}

// Probe says whether this kernel can hold the tables. Missing IPv6 is no error.
func (d *Dataplane) Probe(ctx context.Context, _ dataplane.Options) (dataplane.Capability, error) {
	return dataplane.Capability{}, d.tables.Probe(ctx)
}

// Sync makes the kernel's tables equal to the desired state.
func (d *Dataplane) Sync(ctx context.Context, desired model.Desired, _ dataplane.Options) (dataplane.Result, error) {
	d.released = time.Time{}
	result, err := d.withLocalhost(ctx, &desired.Node, func() (dataplane.Result, error) {
		if _, err := d.tables.Plan(ctx, desired); err != nil {
			return dataplane.Result{}, err
		}
		return d.tables.Commit(ctx)
	})
	d.leftOut = dataplane.LeftOut{}
	if noIPv6 := d.tables.IPv6Error(); noIPv6 != nil {
		for key, f := range desired.Frontends {
			d.leftOut.NoIPv6(noIPv6, key, f)
		}
	}
	return d.report(ctx, result, err)
}

// Apply changes the tables by a delta.
func (d *Dataplane) Apply(ctx context.Context, delta model.Delta) (dataplane.Result, error) {
	for _, c := range delta.Frontends {
		d.leftOut.NoIPv6(d.tables.IPv6Error(), c.Key, c.New)
	}
	result, err := d.apply(ctx, delta)
	return d.report(ctx, result, err)
}

func (d *Dataplane) apply(ctx context.Context, delta model.Delta) (dataplane.Result, error) {
	program := func() (dataplane.Result, error) {
		if err := d.tables.PlanDelta(delta); err != nil {
			return dataplane.Result{}, err
		}
		return d.tables.Commit(ctx)
	}
	if delta.Node == nil || !d.tables.Synced() {
		return program()
	}
	node := *delta.Node
	delta.Node = &node
	return d.withLocalhost(ctx, &node, program)
}

// withLocalhost calls program, and sets up and removes before and after it what node ports
// on localhost need.
func (d *Dataplane) withLocalhost(ctx context.Context, s *model.NodeSettings, program func() (dataplane.Result, error)) (dataplane.Result, error) {
	result, err := d.localhost.With(ctx, s, program)
	if err != nil {
		d.tables.Forget()
	}
	return result, err
}

// report adds to a result what is not programmed, and when to try it again.
func (d *Dataplane) report(ctx context.Context, result dataplane.Result, err error) (dataplane.Result, error) {
	if err != nil && ctx.Err() == nil {
		d.failures.Inc()
	}
	d.leftOut.Node(dataplane.ReasonLocalhost, d.localhost.Err())
	result.Unsupported = d.leftOut.Limitations()
	result.NextLook = d.tables.IPv6Wait()
	return result, err
}

// Cleanup deletes our tables, unless another mode uses them by now. It fails if it cannot
// set a sysctl back.
func (d *Dataplane) Cleanup(ctx context.Context) error {
	if err := d.tables.Cleanup(ctx); err != nil {
		return err
	}
	return d.localhost.Cleanup(ctx)
}

// Close closes the netlink socket.
func (d *Dataplane) Close() error {
	d.localhost.Close()
	return d.nft.Close()
}
