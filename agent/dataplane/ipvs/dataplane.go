// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ipvs programs Services into the kernel's IPVS.
//
// Each address and port of a Service is a virtual server, whose real servers are
// the endpoints; a node port is one on each address that it answers on. The
// addresses are on the device kube-ipvs0, since IPVS sees only what the node
// takes for its own.
//
// IPVS chooses endpoints and nothing else. Who may use a frontend, what is
// refused or dropped and what is masqueraded is decided before it, in the table
// "fairlead" of nftables, by the same maps as in the mode NFTables. There, too,
// packets get a firewall mark that come from outside to a frontend whose external
// traffic policy leaves them other endpoints: the mark has a virtual server of
// its own.
//
// A real server that goes gets weight 0 and is removed when it has no connections
// left or its time is over. A virtual server that goes waits for its last real
// server in the same way; new connections to it are refused meanwhile.
//
// The owner of a virtual server is known by its address, which is on our device, by its
// firewall mark, or by our table, which has every frontend that we have programmed.
// Others' virtual servers are not touched.
//
// The kernel does not notify of changes in IPVS: it is read back now and then, see
// readback.go. What it cannot do is reported, and stops nothing else, see limitations.go.
package ipvs

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/nattable"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Options are the parameters of New.
type Options struct {
	// NetNS is a file descriptor of the network namespace to program, which the
	// caller keeps open; 0 is the namespace of the calling thread.
	NetNS int

	// Sysctls are the kernel's parameters.
	Sysctls sysctl.Tree

	Log logr.Logger
}

// filter is the tables of nftables before IPVS, see nattable.Tables.
type filter interface {
	Probe(context.Context) error
	OnlyTrack(ctx context.Context, instead bool) error
	Plan(context.Context, model.Desired) (nattable.Found, error)
	PlanDelta(model.Delta) error
	Commit(context.Context) (dataplane.Result, error)
	Mark(model.FrontendKey) uint32
	Desired() model.Desired
	IPv6Error() error
	NodePorts() map[netip.Addr]struct{}
	Watch(ctx context.Context, changed func()) error
	Cleanup(context.Context) error
	Close() error
}

// Dataplane implements dataplane.Dataplane.
type Dataplane struct {
	log     logr.Logger
	clock   clock.Clock
	sysctls sysctl.Tree
	kernel  kernel
	device  device
	filter  filter
	netns   int

	known    bool // the last Sync or Apply has succeeded
	adopted  bool // what the kernel held at the start is known
	servers  *servers
	settings Settings           // of the last Sync
	desired  model.Desired      // as Sync and Apply have it, with maps of our own
	vips     map[netip.Addr]int // the frontends on each virtual address
	noIPv6   error
	leftOut  dataplane.LeftOut

	synced   time.Time     // when the last Sync began
	lastRead time.Time     // when IPVS was last read back
	readTime time.Duration // that the last part of reading IPVS back took
	released time.Time     // since when another mode is in force; zero: this one is
	busiest  serverKey     // was busy when it was last asked since then

	// mu guards what Watch looks at.
	mu        sync.Mutex
	bound     map[netip.Addr]struct{} // the addresses on our device
	elsewhere map[netip.Addr]struct{} // the node's other addresses
}

var _ dataplane.Dataplane = (*Dataplane)(nil)

// New returns a Dataplane for a network namespace.
func New(o Options) (*Dataplane, error) {
	k, err := openKernel(o.NetNS)
	if err != nil {
		return nil, err
	}
	dev, err := openDevice(o.NetNS)
	if err != nil {
		return nil, errors.Join(err, k.close())
	}
	d := &Dataplane{log: o.Log, clock: clock.RealClock{}, sysctls: o.Sysctls, kernel: k, device: dev, netns: o.NetNS}
	client, err := nft.Dial(o.NetNS)
	if err != nil {
		return nil, errors.Join(nattable.Classify(err), k.close(), dev.close())
	}
	d.filter = nattable.New(nattable.Options{Client: client, Target: nattable.Mark(), Log: o.Log, Addresses: d.ownAddresses})
	d.reset()
	return d, nil
}

func (d *Dataplane) reset() {
	d.known, d.adopted, d.released = false, false, time.Time{}
	d.servers = newServers(d.kernel, d.clock.Now)
}

// Sync makes the kernel equal to desired. It reads IPVS back if that is due or
// something has failed, else it takes it for what it was. All else is read always.
func (d *Dataplane) Sync(ctx context.Context, desired model.Desired, o dataplane.Options) (dataplane.Result, error) {
	d.desired, d.settings = desired.Clone(), settingsOf(o)
	return d.sync(ctx, desired)
}

func (d *Dataplane) sync(ctx context.Context, desired model.Desired) (dataplane.Result, error) {
	d.synced, d.released = d.clock.Now(), time.Time{}
	wasKnown := d.known
	d.known = false // until it has succeeded
	if err := d.prepare(); err != nil {
		return dataplane.Result{}, err
	}
	began := d.clock.Now()
	repairs, err := d.readAddresses()
	if err != nil {
		return dataplane.Result{}, err
	}
	d.leftOut.Clear(dataplane.ReasonIPv6)
	desired = d.leaveOut(desired)
	d.count(desired)
	desired.ClusterIPs = d.refused()
	planned, err := d.filter.Plan(ctx, desired)
	if err != nil {
		return dataplane.Result{}, err
	}
	r := serverRules{settings: d.settings, nodePorts: d.filter.NodePorts()}
	c := newChange(len(desired.Frontends))
	for key, f := range desired.Frontends {
		c.want(r.servers(f, d.filter.Mark(key)))
		c.touch(key)
	}
	found, err := d.readBack(&r, c, planned, !wasKnown)
	if err != nil {
		return dataplane.Result{}, err
	}
	reading := d.clock.Since(began)
	for key := range d.servers.byKey {
		c.unwant(key)
	}
	for a := range d.bound {
		c.addresses[a] = struct{}{}
	}
	stats, err := d.carryOut(ctx, c)
	stats.Reading = reading
	stats.Repaired = min(stats.Repaired+repairs+found, stats.Operations)
	d.known = err == nil
	return stats, err
}

// Apply changes the kernel by a delta.
func (d *Dataplane) Apply(ctx context.Context, delta model.Delta) (dataplane.Result, error) {
	if !d.known {
		return dataplane.Result{}, dataplane.ErrNotSynced
	}
	delta.Apply(&d.desired)
	if delta.Node != nil {
		return d.sync(ctx, d.desired)
	}
	d.known = false // until it has succeeded
	for _, c := range delta.Frontends {
		d.noteIPv6(c.Key, c.New)
	}
	delta.Frontends = slices.DeleteFunc(slices.Clone(delta.Frontends), func(c model.Change) bool {
		return d.leaves(c.Key.Address)
	})
	delta.ClusterIPs = model.AddrChanges{}
	r := serverRules{settings: d.settings, nodePorts: d.filter.NodePorts()}
	c := newChange(len(delta.Frontends))
	var old []map[serverKey]wantedServer
	for _, f := range delta.Frontends {
		old = append(old, r.servers(f.Old, d.filter.Mark(f.Key)))
		c.touch(f.Key)
		if d.countChange(f) {
			delta.ClusterIPs.Added = append(delta.ClusterIPs.Added, f.Key.Address)
		}
	}
	if err := d.filter.PlanDelta(delta); err != nil {
		return dataplane.Result{}, err
	}
	for _, f := range delta.Frontends {
		c.want(r.servers(f.New, d.filter.Mark(f.Key)))
	}
	for _, servers := range old {
		for key := range servers {
			c.unwant(key)
		}
	}
	stats, err := d.carryOut(ctx, c)
	d.known = err == nil
	return stats, err
}

// Close frees the handles.
func (d *Dataplane) Close() error {
	return errors.Join(d.filter.Close(), d.device.close(), d.kernel.close())
}
