// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package iptables programs Services with the programs of iptables, in the variant that
// the node uses: legacy or nft. Both have the same rules.
//
// All decisions are made in the table nat, which sees only the first packet of a
// connection. A tree of chains leads the packet to its frontend in some tens of rules,
// however many frontends there are:
//
//	    FAIRLEAD-SERVICES    addresses, node ports, unallocated addresses of ServiceCIDRs
//		FAIRLEAD-ADDRESSES   -d 0.0.0.5/0.0.0.15 -g FAIRLEAD-A-...      see tree.go
//		FAIRLEAD-A-...       -d 10.96.0.5/32 -p tcp --dport 80 -g FAIRLEAD-E-...
//		                     -d 10.96.0.5/32 -g FAIRLEAD-REFUSE         its other ports
//		FAIRLEAD-E-...       DNAT with probability 1/3, 1/2, 1          see frontend.go
//
// If the external traffic policy matters, traffic from neither this node's Pods nor the
// node itself first goes through trees of the same form (FAIRLEAD-OUTSIDE). A load
// balancer IP with source ranges has a chain that accepts only these, and all node ports
// share one (FAIRLEAD-NODEPORT-SOURCES). Session affinity is in affinity.go.
//
// All frontends of a Service's port share the chain of their endpoints. A changed endpoint
// changes only that chain; an added Service changes its own chains and the chain of the
// tree with its address. Only changed chains are passed to iptables-restore, which changes
// each table atomically: there is no moment without rules.
//
// The table nat can neither reject nor drop. So it sets a bit of the packet's mark, and
// the table filter has one rule for it in each of its chains. Another bit says that a
// packet is to be masqueraded, until the end of nat, where it is cleared. Node ports on
// localhost have a guard in the table mangle, see localhost.go.
//
// The rules in the kernel are compared as text: our rules are written exactly as
// iptables-save prints them. Rules of others are read only to find jumps to our chains.
package iptables

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/localhost"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/agent/kernel/routelocalnet"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Options are the parameters of New.
type Options struct {
	// NetNS is a file descriptor of the network namespace to program, which the caller
	// keeps open; 0 is that of the process.
	NetNS int

	Log logr.Logger

	// Sysctls are the kernel parameters of that network namespace; nil: those that the
	// calling thread sees.
	Sysctls sysctl.Parameters

	// Localhost are the modes of this node with node ports on localhost; nil: it is the
	// only one.
	Localhost *routelocalnet.Owner
}

// Dataplane implements dataplane.Dataplane.
type Dataplane struct {
	log       logr.Logger
	netns     int
	sysctls   sysctl.Parameters
	users     *routelocalnet.Owner
	localhost *localhost.Ports
	// listLength is a file name, see limitations.go.
	listLength string
	// addresses returns the node's addresses.
	addresses func() ([]netip.Addr, error)

	clock    clock.PassiveClock
	kernel   kernel         // nil until probed
	variant  string         // and its version
	others   []*tools       // other variants, in which rules of ours may be left
	failures map[string]int // of a variant in a row, until one is chosen
	families []*family      // that this kernel supports
	noIPv6   error          // why IPv6 is unsupported
	ipv6     dataplane.Retry
	leftOut  dataplane.LeftOut

	unreadable error // why the last read-back was left out

	known   bool // the last Sync or Apply succeeded
	ours    bool // what the families hold differs from the kernel by changes of others only
	found   int  // such changes that are not undone yet
	desired model.Desired
	gen     nft.Generation // at the last read-back

	released time.Time // when a Proxy took over; zero: this mode is active

	children children
	nft      *nft.Client // nil: the kernel has no nftables
}

// family is the state of an address family.
type family struct {
	v6   bool
	want *wanted
	held *held // nil: not known
}

func (f *family) String() string {
	if f.v6 {
		return "IPv6"
	}
	return "IPv4"
}

var _ dataplane.Dataplane = (*Dataplane)(nil)

// dial opens the client of nftables. Tests replace it.
var dial = nft.Dial

// New returns a Dataplane for a network namespace. A kernel without nftables has the
// legacy variant only.
func New(o Options) (*Dataplane, error) {
	if o.Sysctls == nil {
		o.Sysctls = sysctl.Tree{}
	}
	if o.Localhost == nil {
		o.Localhost = &routelocalnet.Owner{}
	}
	client, err := dial(o.NetNS)
	if err != nil && !nft.IsUnsupported(err) {
		return nil, err
	}
	d := &Dataplane{nft: client, log: o.Log, netns: o.NetNS, sysctls: o.Sysctls, users: o.Localhost, listLength: listLength, clock: clock.RealClock{}, desired: model.NewDesired()}
	d.localhost = localhost.New(loopback{&d.kernel}, d.sysctls, d.users)
	d.addresses = func() ([]netip.Addr, error) { return netdev.AddressesOf(netdev.Namespace(o.NetNS)) }
	return d, nil
}

// Sync makes the kernel's tables equal to the desired state.
func (d *Dataplane) Sync(ctx context.Context, desired model.Desired, _ dataplane.Options) (dataplane.Result, error) {
	d.released = time.Time{}
	if err := d.prepare(ctx); err != nil {
		return dataplane.Result{}, err
	}
	d.leftOut = dataplane.LeftOut{}
	if d.noIPv6 != nil {
		for key, f := range desired.Frontends {
			d.leftOut.NoIPv6(d.noIPv6, key, f)
		}
	}
	delta := model.Diff(d.desired, desired)
	result, err := d.withLocalhost(ctx, desired.Node, func(node model.NodeSettings) (dataplane.Result, error) {
		return d.program(ctx, &delta, node, true)
	})
	return d.report(result), err
}

// Apply changes the tables by a delta.
func (d *Dataplane) Apply(ctx context.Context, delta model.Delta) (dataplane.Result, error) {
	if !d.known {
		return dataplane.Result{}, dataplane.ErrNotSynced
	}
	for _, c := range delta.Frontends {
		d.leftOut.NoIPv6(d.noIPv6, c.Key, c.New)
	}
	delta = relativeTo(d, delta)
	if delta.Node == nil {
		result, err := d.program(ctx, &delta, d.desired.Node, false)
		return d.report(result), err
	}
	result, err := d.withLocalhost(ctx, *delta.Node, func(node model.NodeSettings) (dataplane.Result, error) {
		return d.program(ctx, &delta, node, false)
	})
	return d.report(result), err
}

// withLocalhost calls program, and sets up and removes before and after it what node ports
// on localhost need. program gets the settings that are possible.
func (d *Dataplane) withLocalhost(ctx context.Context, s model.NodeSettings, program func(model.NodeSettings) (dataplane.Result, error)) (dataplane.Result, error) {
	stats, err := d.localhost.With(ctx, &s, func() (dataplane.Result, error) { return program(s) })
	if err == nil {
		err = d.leaveOthers(ctx)
	}
	if err != nil {
		d.known = false
	}
	return stats, err
}

// relativeTo returns a delta relative to the desired state as we know it.
func relativeTo(d *Dataplane, delta model.Delta) model.Delta {
	delta.Frontends = slices.Clone(delta.Frontends)
	for i := range delta.Frontends {
		delta.Frontends[i].Old = d.desired.Frontends[delta.Frontends[i].Key]
	}
	for set, changes := range map[*model.AddrChanges]map[netip.Addr]struct{}{
		&delta.ClusterIPs: d.desired.ClusterIPs, &delta.LocalEndpoints: d.desired.LocalEndpoints,
	} {
		known := func(a netip.Addr) bool { _, ok := changes[a]; return ok }
		set.Added = slices.DeleteFunc(slices.Clone(set.Added), known)
		set.Removed = slices.DeleteFunc(slices.Clone(set.Removed), func(a netip.Addr) bool { return !known(a) })
	}
	return delta
}

// program applies a delta of the desired state to the kernel. If look is set it reads the
// kernel first, to find changes by others.
func (d *Dataplane) program(ctx context.Context, delta *model.Delta, node model.NodeSettings, look bool) (dataplane.Result, error) {
	wasKnown := d.known
	d.known = false // until program succeeds
	var stats dataplane.Result
	changes := map[*family]change{}
	settings, err := d.settings(node)
	if err != nil {
		return stats, err
	}
	for _, f := range d.families {
		if err := f.want.check(delta); err != nil {
			return stats, err
		}
	}
	for _, f := range d.families {
		s := settings
		s.v6 = f.v6
		changes[f] = f.want.apply(delta, &s)
	}
	delta.Node = &node
	delta.Apply(&d.desired)
	if look {
		if err := d.readBack(ctx, wasKnown, &stats); err != nil {
			return stats, err
		}
		for _, f := range d.families {
			changes[f] = f.all()
		}
	}
	for _, f := range d.families {
		s := f.plan(changes[f])
		if s.ops == 0 {
			continue
		}
		if err := d.restore(ctx, f, s); err != nil {
			d.ours = d.ours && s.commits() == 1 && refused(err) // then nothing of it is in the kernel
			return stats, err
		}
		f.done(changes[f])
		stats.Operations += s.ops
	}
	if look && (stats.Operations > 0 || !wasKnown) {
		d.gen = nft.Generation{} // the reading that this relied on may have been incomplete, see deleteRules
	}
	stats.Repaired = min(d.found, stats.Operations)
	d.known, d.ours, d.found = true, true, 0
	return stats, nil
}

// leaveOthers removes the rules of an earlier agent from a variant that the node no longer
// uses, once the rules of its own variant are programmed.
func (d *Dataplane) leaveOthers(ctx context.Context) error {
	for len(d.others) > 0 {
		k := kernel(d.others[0])
		if err := cleanUp(ctx, k, localhost.New(loopback{&k}, d.sysctls, d.users)); err != nil {
			return fmt.Errorf("clean up %s: %w", d.others[0], err)
		}
		d.others = d.others[1:]
	}
	return nil
}

// restore runs a script. Notifications are not received while a long one runs.
func (d *Dataplane) restore(ctx context.Context, f *family, s *script) error {
	run := func() error {
		if err := d.kernel.restore(ctx, f.v6, s); err != nil {
			return fmt.Errorf("change the rules of %s: %w", f, err)
		}
		return nil
	}
	if d.nft == nil || !d.kernel.commits() {
		return run()
	}
	return d.nft.Quietly(ctx, s.ops, s.commits(), run)
}

// settings returns the node's settings with the addresses that node ports answer on.
func (d *Dataplane) settings(s model.NodeSettings) (settings, error) {
	if err := checkSettings(&s); err != nil {
		return settings{}, err
	}
	answering, err := s.NodePortsOn(d.addresses)
	return settings{NodeSettings: s, nodePorts: slices.SortedFunc(maps.Keys(answering), netip.Addr.Compare)}, err
}

// Close closes the netlink socket.
func (d *Dataplane) Close() error {
	d.localhost.Close()
	if d.nft == nil {
		return nil
	}
	return d.nft.Close()
}
