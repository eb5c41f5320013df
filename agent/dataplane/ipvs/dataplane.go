// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ipvs programs Services into the kernel's IPVS.
//
// Each address and port of a Service is a virtual server, whose real servers are the
// endpoints. A node port is a virtual server on each address that it answers on. The
// addresses are on the device kube-ipvs0, because IPVS sees only packets to local
// addresses.
//
// IPVS only chooses endpoints. Before it, the table "fairlead" of nftables decides which
// clients may use a frontend, and which packets are rejected, dropped or masqueraded, with
// the same maps as in the mode NFTables. There, packets from outside also get a firewall
// mark if the external traffic policy leaves their frontend other endpoints: the mark has
// a separate virtual server.
//
// A removed real server gets weight 0 and is deleted when it has no connections left or
// its time is over. A removed virtual server waits for its last real server in the same
// way, and rejects new connections until then.
//
// A virtual server is ours if its address is on our device, if it has a firewall mark of
// ours, if it is in our table, which has every frontend that we have programmed, or if it has
// a flag that we give those that nothing else shows to be ours, see flagOurs.
// Virtual servers of others are not touched.
//
// The kernel does not notify of changes in IPVS: it is read back periodically, see
// readback.go. What it does not support is reported, and the rest is programmed, see
// limitations.go.
package ipvs

import (
	"context"
	"errors"
	"net/netip"
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

	// Sysctls are the kernel parameters.
	Sysctls sysctl.Tree

	Log logr.Logger
}

// filter is the nftables tables before IPVS, see nattable.Tables.
type filter interface {
	Probe(context.Context) error
	OnlyTrack(ctx context.Context, instead bool) error
	Examine(context.Context, model.Desired, dataplane.Look) (nattable.Examined, error)
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
	clock  clock.Clock
	kernel kernel
	device device
	filter filter

	host    *host
	vips    *vips
	servers *servers
	limits  limits

	known    bool          // the last Sync or Apply succeeded
	adopted  bool          // the first read-back has succeeded
	inherits bool          // node ports of kube-proxy are ours for the next read-back
	settings Settings      // of the last Sync or Released
	desired  model.Desired // as Sync and Apply have it, with maps of our own

	synced   time.Time     // when the last Sync began
	lastRead time.Time     // when IPVS was last read back
	readTime time.Duration // duration of the last part of a read-back
	released time.Time     // when another mode took over; zero: this mode is active
	busiest  serverKey     // was busy at the last check since then

	replaces dataplane.Kind // the active mode, until the first Sync has succeeded; 0: none
}

var (
	_ dataplane.Dataplane = (*Dataplane)(nil)
	_ dataplane.Heir      = (*Dataplane)(nil)
)

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
	client, err := nft.Dial(o.NetNS)
	if err != nil {
		return nil, errors.Join(nattable.Classify(err), k.close(), dev.close())
	}
	v := &vips{device: dev, netns: o.NetNS}
	f := nattable.New(nattable.Options{Client: client, Target: nattable.Mark(), Log: o.Log, Addresses: v.own})
	return assemble(o, clock.RealClock{}, k, v, f), nil
}

func assemble(o Options, c clock.Clock, k kernel, v *vips, f filter) *Dataplane {
	h := &host{log: o.Log, sysctls: o.Sysctls, kernel: k, device: v.device, filter: f}
	d := &Dataplane{clock: c, kernel: k, device: v.device, filter: f, host: h, vips: v}
	d.reset()
	return d
}

func (d *Dataplane) reset() {
	d.known, d.adopted, d.released = false, false, time.Time{}
	d.servers = newServers(d.kernel, d.clock.Now)
}

// Sync makes the kernel equal to the desired state. It reads IPVS back if that is due or
// after an error; otherwise it relies on the last read-back. Everything else is always
// read.
func (d *Dataplane) Sync(ctx context.Context, desired model.Desired, o dataplane.Options) (dataplane.Result, error) {
	d.desired, d.settings = desired.Clone(), settingsOf(o)
	result, err := d.sync(ctx, desired)
	return result, d.tookOver(ctx, err)
}

func (d *Dataplane) sync(ctx context.Context, desired model.Desired) (dataplane.Result, error) {
	d.synced, d.released = d.clock.Now(), time.Time{}
	wasKnown := d.known
	d.known = false // until Sync succeeds
	if err := d.host.prepare(&d.settings); err != nil {
		return dataplane.Result{}, err
	}
	began := d.clock.Now()
	repairs, err := d.vips.read()
	if err != nil {
		return dataplane.Result{}, err
	}
	if !d.adopted {
		repairs = 0
	}
	nodePorts, err := desired.Node.NodePortsOn(d.vips.own)
	if err != nil {
		return dataplane.Result{}, err
	}
	d.limits.reset(d.settings, d.host.noIPv6)
	d.limits.sizes.on(&desired.Node, nodePorts)
	desired = d.limits.supported(desired)
	d.vips.count(desired.Frontends)
	desired.ClusterIPs = d.vips.rejecting()
	planned, err := d.plan(ctx, desired)
	if err != nil {
		return dataplane.Result{}, err
	}
	if d.host.noIPv6 == nil && d.filter.IPv6Error() != nil { // as it has just turned out
		return d.sync(ctx, d.desired)
	}
	r := d.serverRules()
	c := newChange(len(desired.Frontends))
	for key, f := range desired.Frontends {
		c.want(r.servers(f, d.filter.Mark(key)))
		c.touch(key)
	}
	var found int
	var interrupted bool
	if wasKnown {
		found, interrupted, err = d.readPart(dataplane.Reading(ctx), &r, c, planned)
	} else {
		found, err = d.readAll(&r, c, planned)
	}
	if err != nil {
		return dataplane.Result{}, err
	}
	reading := d.clock.Since(began)
	for key := range d.servers.byKey {
		c.unwant(key)
	}
	for a := range d.vips.bound {
		c.addresses[a] = struct{}{}
	}
	stats, err := d.carryOut(ctx, c)
	stats.Reading, stats.Interrupted = reading, stats.Interrupted || interrupted
	stats.Repaired = min(stats.Repaired+repairs+found, stats.Operations)
	d.known = err == nil
	return stats, err
}

// Apply applies a delta to the kernel.
func (d *Dataplane) Apply(ctx context.Context, delta model.Delta) (dataplane.Result, error) {
	if !d.known {
		return dataplane.Result{}, dataplane.ErrNotSynced
	}
	delta.Apply(&d.desired)
	if delta.Node != nil {
		return d.sync(ctx, d.desired)
	}
	d.known = false // until Apply succeeds
	var resized []*model.Frontend
	delta.Frontends, resized = d.limits.supportedChanges(delta.Frontends, &d.desired)
	delta.ClusterIPs = model.AddrChanges{}
	r := d.serverRules()
	c := newChange(len(delta.Frontends))
	var old []map[serverKey]wantedServer
	for _, f := range delta.Frontends {
		old = append(old, r.servers(f.Old, d.filter.Mark(f.Key)))
		c.touch(f.Key)
		if d.vips.countChange(f) {
			delta.ClusterIPs.Added = append(delta.ClusterIPs.Added, f.Key.Address)
		}
	}
	if err := d.filter.PlanDelta(delta); err != nil {
		return dataplane.Result{}, err
	}
	for _, f := range delta.Frontends {
		c.want(r.servers(f.New, d.filter.Mark(f.Key)))
	}
	for _, f := range resized {
		c.want(r.servers(f, d.filter.Mark(f.Key)))
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

func (d *Dataplane) serverRules() serverRules {
	return serverRules{settings: d.settings, nodePorts: d.filter.NodePorts(), elsewhere: d.vips.elsewhere, sizes: &d.limits.sizes, subsets: subsets{}}
}

// Close closes the handles.
func (d *Dataplane) Close() error {
	return errors.Join(d.filter.Close(), d.device.close(), d.kernel.close())
}
