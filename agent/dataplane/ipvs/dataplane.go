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
// Who owns a virtual server is told by its address, which is on our device, or by
// our table, which has every frontend that we have programmed. Others' virtual
// servers are not touched.
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
	"github.com/fairlead-proxy/fairlead/agent/dataplane/nftables"
	"github.com/fairlead-proxy/fairlead/agent/sysctl"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules"
)

// ErrNotSynced is returned by Apply before the first Sync and after an error.
var ErrNotSynced = errors.New("the kernel's state is unknown: Sync is needed first")

// Options are the parameters of New.
type Options struct {
	// NetNS is a file descriptor of the network namespace to program, which the
	// caller keeps open; 0 is the namespace of the calling thread.
	NetNS int

	// Sysctls are the kernel's parameters.
	Sysctls sysctl.Tree

	Log logr.Logger
}

// filter is the table of nftables before IPVS, see nftables.Classifier.
type filter interface {
	Probe(context.Context) error
	Plan(context.Context, rules.Desired) (nftables.Planned, error)
	PlanDelta(context.Context, rules.Delta) (nftables.Planned, error)
	Commit(context.Context) (dataplane.Stats, error)
	Mark(rules.FrontendKey) uint32
	Desired() rules.Desired
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

	known   bool      // servers and bound are what the kernel holds
	lastAll time.Time // when the kernel was last read back
	servers *servers
	vips    map[netip.Addr]int // the frontends on each virtual address

	// mu guards what Watch looks at.
	mu        sync.Mutex
	bound     map[netip.Addr]struct{} // the addresses on our device
	elsewhere map[netip.Addr]struct{} // the node's other addresses
	draining  bool
	readBack  time.Duration
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
	d.filter, err = nftables.NewClassifier(nftables.Options{NetNS: o.NetNS, Log: o.Log}, d.ownAddresses)
	if err != nil {
		return nil, errors.Join(err, k.close(), dev.close())
	}
	d.reset()
	return d, nil
}

func (d *Dataplane) reset() {
	d.known = false
	d.servers = newServers(d.kernel, d.clock.Now)
}

// Mode returns IPVS.
func (d *Dataplane) Mode() v1alpha1.ProxyMode { return v1alpha1.ModeIPVS }

// Sync makes the kernel equal to desired. It reads the kernel back if that is
// due, or its state is not known; else it takes it for what it was.
func (d *Dataplane) Sync(ctx context.Context, desired rules.Desired) (dataplane.Stats, error) {
	settings := desired.Node.IPVS
	if err := errors.Join(d.prepare(settings), d.readAddresses()); err != nil {
		return dataplane.Stats{}, err
	}
	wasKnown := d.known
	d.known = false // until it has succeeded
	desired = withoutExcluded(desired)
	d.countVIPs(desired)
	desired.ClusterIPs = d.refused()
	planned, err := d.filter.Plan(ctx, desired)
	if err != nil {
		return dataplane.Stats{}, err
	}
	r := serverRules{settings: settings, nodePorts: d.filter.NodePorts()}
	c := newChange(len(desired.Frontends))
	for key, f := range desired.Frontends {
		c.want(r.servers(f, d.filter.Mark(key)))
		c.touch(key)
	}
	repairs := 0
	if !wasKnown || d.clock.Since(d.lastAll) >= settings.ReadBack {
		if repairs, err = d.readServers(&r, c, planned); err != nil {
			return dataplane.Stats{}, err
		}
	}
	for key := range d.servers.byKey {
		c.unwant(key)
	}
	for a := range d.bound {
		c.addresses[a] = struct{}{}
	}
	stats, err := d.carryOut(ctx, c, settings)
	if wasKnown {
		stats.Repaired = min(stats.Repaired+repairs, stats.Operations)
	}
	d.known = err == nil
	return stats, err
}

// Apply changes the kernel by a delta.
func (d *Dataplane) Apply(ctx context.Context, delta rules.Delta) (dataplane.Stats, error) {
	if !d.known {
		return dataplane.Stats{}, ErrNotSynced
	}
	desired := d.filter.Desired()
	if delta.Node != nil {
		delta.Apply(&desired)
		return d.Sync(ctx, desired)
	}
	d.known = false // until it has succeeded
	settings := desired.Node.IPVS
	delta.Frontends = slices.DeleteFunc(slices.Clone(delta.Frontends), func(c rules.Change) bool {
		return excluded(settings, c.Key.Address)
	})
	delta.ClusterIPs = rules.AddrChanges{}
	r := serverRules{settings: settings, nodePorts: d.filter.NodePorts()}
	c := newChange(len(delta.Frontends))
	var old []map[serverKey]wantedServer
	for _, f := range delta.Frontends {
		old = append(old, r.servers(f.Old, d.filter.Mark(f.Key)))
		c.touch(f.Key)
		if d.countChange(f) {
			delta.ClusterIPs.Added = append(delta.ClusterIPs.Added, f.Key.Address)
		}
	}
	if _, err := d.filter.PlanDelta(ctx, delta); err != nil {
		return dataplane.Stats{}, err
	}
	for _, f := range delta.Frontends {
		c.want(r.servers(f.New, d.filter.Mark(f.Key)))
	}
	for _, servers := range old {
		for key := range servers {
			c.unwant(key)
		}
	}
	stats, err := d.carryOut(ctx, c, settings)
	d.known = err == nil
	return stats, err
}

// change is what to make of some virtual servers, nil for one that shall go, and
// which addresses to look at because of it.
type change struct {
	wanted    map[serverKey]*wantedServer
	addresses map[netip.Addr]struct{}
}

func newChange(size int) change {
	return change{wanted: make(map[serverKey]*wantedServer, size), addresses: map[netip.Addr]struct{}{}}
}

func (c *change) want(servers map[serverKey]wantedServer) {
	for key, w := range servers {
		c.wanted[key] = &w
	}
}

// unwant lets a virtual server go, unless it is wanted.
func (c *change) unwant(key serverKey) {
	if _, ok := c.wanted[key]; !ok {
		c.wanted[key] = nil
	}
}

// touch has the address of a frontend looked at.
func (c *change) touch(key rules.FrontendKey) {
	if !key.IsNodePort() {
		c.addresses[key.Address] = struct{}{}
	}
}

// carryOut makes a change: first what is new, then the table that leads to it,
// then what is to go.
func (d *Dataplane) carryOut(ctx context.Context, c change, settings rules.IPVSSettings) (stats dataplane.Stats, err error) {
	before := d.servers.ops
	defer func() { stats.Operations += d.servers.ops - before }()
	var errs []error
	for key, want := range c.wanted {
		if want != nil {
			errs = append(errs, d.servers.grow(key, *want))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return stats, err
	}
	if stats, err = d.filter.Commit(ctx); err != nil {
		return stats, err
	}
	if err := d.bind(c.addresses, &stats); err != nil {
		return stats, err
	}
	for key, want := range c.wanted {
		errs = append(errs, d.servers.shrink(key, want, settings.Drain))
	}
	d.mu.Lock()
	d.draining, d.readBack = len(d.servers.draining) > 0, settings.ReadBack
	d.mu.Unlock()
	return stats, errors.Join(append(errs, d.unbind(ctx, c.addresses, &stats))...)
}

// readServers reads the virtual servers that are ours, and returns how much in
// them has changed since we saw them last.
func (d *Dataplane) readServers(r *serverRules, c change, planned nftables.Planned) (int, error) {
	recorded := map[serverKey]bool{}
	for key, mark := range planned.Removed {
		for _, k := range r.addresses(key) {
			recorded[k] = true
		}
		if mark != 0 {
			recorded[onMark(familyOf(key.Address), mark)] = true
		}
	}
	before := d.servers.byKey
	err := d.servers.read(func(k serverKey) bool {
		_, bound := d.bound[k.Address]
		wanted := c.wanted[k] != nil
		return wanted || recorded[k] || before[k] != nil || k.mark == 0 && bound && !excluded(r.settings, k.Address)
	})
	if err != nil {
		return 0, err
	}
	d.lastAll = d.clock.Now()
	return differences(before, d.servers.byKey), nil
}

// differences counts what was taken away from the virtual servers, or changed.
func differences(before, after map[serverKey]*held) int {
	n := 0
	for key, was := range before {
		is := after[key]
		if is == nil {
			n += 1 + len(was.reals)
			continue
		}
		if is.server != was.server {
			n++
		}
		for _, r := range was.reals {
			if i, there := is.find(r.endpoint); !there || is.reals[i].weight != r.weight {
				n++
			}
		}
	}
	return n
}

// Close frees the handles.
func (d *Dataplane) Close() error {
	return errors.Join(d.filter.Close(), d.device.close(), d.kernel.close())
}
