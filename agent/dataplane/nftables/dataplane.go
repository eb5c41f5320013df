// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nftables programs Services into the kernel's nftables, over netlink and
// without the nft program.
//
// The table "fairlead" of each family has a constant number of chains and rules.
// Services are only elements of its maps:
//
//	services   { address . protocol . port : verdict }        goto cluster-<N>
//	endpoints  { address . protocol . port . number : address . port }
//	cluster-3  dnat to the endpoint with the number (random mod 3)
//
// There is one chain for each number N of endpoints that occurs, whoever has it.
// So a Service or an endpoint costs a few operations on elements, however many
// there are. Where the external traffic policy makes a difference, traffic that
// comes neither from this node's Pods nor from the node itself is looked up in
// services-external first. Node ports have maps of the same form, without the
// address. What is to be refused or dropped is an element with that verdict.
//
// A load balancer's address with source ranges is in the set restricted, and its
// ranges are elements of sets, one set for each length of a range that occurs.
// What comes from elsewhere is dropped before anything else is asked.
//
// With session affinity there is one chain for each number of endpoints and each
// timeout. It lets the kernel remember clients in a map, see affinity.go. That map
// is never read: it survives a restart of the agent and all repairs, but for the
// replacement of the whole table. A changed timeout takes effect for each client
// with its next connection.
//
// All decisions are made in nat chains, which see only the first packet of a
// connection: other packets cost nothing, and a change never touches an
// established connection.
//
// Node ports on localhost need a second, small table, see localhost.go.
package nftables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
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
	// NetNS is a file descriptor of the network namespace to program, which the
	// caller keeps open; 0 is the namespace of the calling thread.
	NetNS int

	Log logr.Logger

	// Sysctls are the kernel's parameters of that namespace; nil: those that the
	// calling thread sees.
	Sysctls routelocalnet.Sysctls

	// Localhost are the modes of this node with node ports on localhost; nil: it is
	// the only one.
	Localhost *routelocalnet.Owner

	// Failures counts failed Syncs and Applies; nil: it need not be counted.
	Failures prometheus.Counter
}

// Dataplane implements dataplane.Dataplane.
type Dataplane struct {
	log   logr.Logger
	netns int
	nft   *nft.Client

	layout layout // of the tables
	// addresses returns the node's addresses.
	addresses func() ([]netip.Addr, error)

	clock  clock.PassiveClock
	tables []*table // of the families that this kernel has; nil until probed
	noIPv6 error    // why IPv6 is not among them
	ipv6   dataplane.Retry
	// tryFamily says whether the kernel can run a family, see probe.
	tryFamily func(ctx context.Context, family byte) error
	leftOut   dataplane.LeftOut
	last      *wanted              // what was programmed last; nil: unknown
	content   map[*table]*contents // the kernel's content, if last is known
	gen       nft.Generation       // when the content was read

	localhost *localhost.Ports
	released  time.Time // since when a Proxy is in force; zero: none is

	failures prometheus.Counter
}

var _ dataplane.Dataplane = (*Dataplane)(nil)

// New returns a Dataplane for a network namespace.
func New(o Options) (*Dataplane, error) {
	c, err := nft.Dial(o.NetNS)
	if err != nil {
		return nil, classify(err)
	}
	if o.Sysctls == nil {
		o.Sysctls = sysctl.Tree{}
	}
	if o.Failures == nil {
		o.Failures = newFailures()
	}
	d := &Dataplane{log: o.Log, netns: o.NetNS, nft: c, clock: clock.RealClock{}, failures: o.Failures, localhost: localhost.New(routelocalnet.NewTable(c), o.Sysctls, o.Localhost)}
	d.tryFamily = d.probe
	d.addresses = func() ([]netip.Addr, error) { return netdev.AddressesOf(netdev.Namespace(o.NetNS)) }
	return d, nil
}

// Sync makes the kernel's tables equal to desired.
func (d *Dataplane) Sync(ctx context.Context, desired model.Desired, _ dataplane.Options) (dataplane.Result, error) {
	d.released = time.Time{}
	result, err := d.withLocalhost(ctx, &desired.Node, func() (dataplane.Result, error) {
		p, err := d.plan(ctx, desired)
		if err != nil {
			return dataplane.Result{}, err
		}
		return d.carryOut(ctx, p)
	})
	d.leftOut = dataplane.LeftOut{}
	if d.noIPv6 != nil {
		for key, f := range desired.Frontends {
			d.leftOut.NoIPv6(d.noIPv6, key, f)
		}
	}
	return d.report(ctx, result, err)
}

// report adds to a result what is not programmed, and when to try it again.
func (d *Dataplane) report(ctx context.Context, result dataplane.Result, err error) (dataplane.Result, error) {
	if err != nil && ctx.Err() == nil {
		d.failures.Inc()
	}
	d.leftOut.Node(dataplane.ReasonLocalhost, d.localhost.Lacking())
	result.Unsupported = d.leftOut.Limitations()
	if d.noIPv6 != nil && !errors.Is(d.noIPv6, dataplane.ErrUnsupported) {
		result.NextLook = max(1, d.ipv6.Wait(d.clock.Now()))
	}
	return result, err
}

// withLocalhost calls program between what node ports on localhost need before it
// and after it.
func (d *Dataplane) withLocalhost(ctx context.Context, s *model.NodeSettings, program func() (dataplane.Result, error)) (dataplane.Result, error) {
	stats, err := d.localhost.With(ctx, s, program)
	if err != nil {
		d.last = nil
	}
	return stats, err
}

// plan plans to make the kernel's tables equal to desired. It reads them, unless
// nobody has changed anything since we did.
func (d *Dataplane) plan(ctx context.Context, desired model.Desired) (plan, error) {
	if err := d.prepare(ctx); err != nil {
		return plan{}, err
	}
	want, err := d.want(desired)
	if err != nil {
		return plan{}, err
	}
	gen, err := d.nft.Generation(ctx)
	if err != nil {
		return plan{}, err
	}
	if d.last != nil && d.gen.Is(gen) {
		delta := model.Diff(d.last.Desired, want.Desired)
		return d.planChange(&delta, want)
	}
	return d.planWithKernel(ctx, want, gen)
}

// carryOut makes a planned change.
func (d *Dataplane) carryOut(ctx context.Context, p plan) (dataplane.Result, error) {
	stats, err := d.commit(ctx, p.batch, p.after)
	stats.Repaired, stats.Reading = min(p.repairs, stats.Operations), p.reading
	return stats, err
}

// plan is a change that is not made yet.
type plan struct {
	batch   *nft.Batch
	after   *wanted
	repairs int // operations that undo what others have done
	reading time.Duration

	// removed are the frontends that go though the kernel held them before we
	// knew, with their marks, and nodePorts where node ports answered.
	removed   map[model.FrontendKey]uint32
	nodePorts map[netip.Addr]struct{}
}

// planWithKernel reads the kernel's tables and plans to change what differs.
func (d *Dataplane) planWithKernel(ctx context.Context, want *wanted, gen nft.Generation) (plan, error) {
	p := plan{batch: nft.NewBatch(), after: want, removed: map[model.FrontendKey]uint32{}, nodePorts: map[netip.Addr]struct{}{}}
	content := map[*table]*contents{}
	for _, t := range d.tables {
		began := time.Now()
		s, err := t.read(ctx, d.nft)
		if err != nil {
			return p, err
		}
		p.reading += time.Since(began)
		if s.broken != "" {
			d.log.Info("replacing the table", "table", t.String(), "reason", s.broken)
		}
		if content[t], err = t.plan(p.batch, s, want); err != nil {
			return p, err
		}
		n, err := d.repairs(t, s)
		if err != nil {
			return p, err
		}
		p.repairs += n
		for key, h := range s.frontends {
			if want.Frontends[key] == nil {
				p.removed[key] = h.mark
			}
		}
		maps.Copy(p.nodePorts, s.addrs[t.nodePorts])
	}
	d.content, d.gen = content, gen
	return p, nil
}

// repairs returns what it takes to get from the snapshot back to what we had
// programmed: that is what others did.
func (d *Dataplane) repairs(t *table, s *snapshot) (int, error) {
	if d.last == nil {
		return 0, nil
	}
	b, assigned, unused := nft.NewBatch(), t.assigned, 0
	t.assigned = maps.Clone(assigned)
	after, err := t.plan(b, s, d.last)
	t.assigned = assigned
	if err != nil {
		return 0, err
	}
	for _, c := range after.unused() {
		if _, ours := d.content[t].chains[c]; !ours {
			unused++
		}
	}
	return b.Operations() + unused, nil
}

// Apply changes the tables by a delta.
func (d *Dataplane) Apply(ctx context.Context, delta model.Delta) (dataplane.Result, error) {
	for _, c := range delta.Frontends {
		d.leftOut.NoIPv6(d.noIPv6, c.Key, c.New)
	}
	result, err := d.apply(ctx, delta)
	return d.report(ctx, result, err)
}

func (d *Dataplane) apply(ctx context.Context, delta model.Delta) (dataplane.Result, error) {
	program := func() (dataplane.Result, error) {
		p, err := d.planDelta(delta)
		if err != nil {
			return dataplane.Result{}, err
		}
		return d.carryOut(ctx, p)
	}
	if delta.Node == nil || d.last == nil {
		return program()
	}
	node := *delta.Node
	delta.Node = &node
	return d.withLocalhost(ctx, &node, program)
}

// planDelta plans to change the tables by a delta.
func (d *Dataplane) planDelta(delta model.Delta) (plan, error) {
	if d.last == nil {
		return plan{}, dataplane.ErrNotSynced
	}
	after := *d.last
	if delta.Node != nil {
		var err error
		if after.nodePorts, err = d.nodePortAddresses(delta.Node); err != nil {
			d.last = nil
			return plan{}, err
		}
	}
	delta.Apply(&after.Desired) // the maps are d.last's too, its settings are not
	return d.planChange(&delta, &after)
}

// planChange plans a change on top of what was programmed last.
func (d *Dataplane) planChange(delta *model.Delta, after *wanted) (plan, error) {
	before := d.last
	d.last = nil // until it has succeeded
	p := plan{batch: nft.NewBatch(), after: after}
	for _, t := range d.tables {
		if err := t.planDelta(p.batch, d.content[t], delta, before, after); err != nil {
			return p, err
		}
	}
	return p, nil
}

// commit sends a batch, after which the kernel holds what is wanted. Chains that
// it has left without users go in a second one, for kernels that do not count a
// user off before the first has ended; what is busy even then is tried again
// after the next change.
func (d *Dataplane) commit(ctx context.Context, b *nft.Batch, want *wanted) (dataplane.Result, error) {
	d.last = nil
	var stats dataplane.Result
	if b.Operations() > 0 {
		if err := d.nft.Commit(ctx, b); err != nil {
			return stats, fmt.Errorf("changing nftables: %w", err)
		}
	}
	stats.Operations = b.Operations()
	deleted, err := d.deleteUnused(ctx)
	if err != nil {
		return stats, err
	}
	stats.Operations += deleted
	d.last = want
	return stats, nil
}

// deleteUnused deletes the chains that have no users, and returns how many.
func (d *Dataplane) deleteUnused(ctx context.Context) (int, error) {
	b := nft.NewBatch()
	for t, c := range d.content {
		for _, unused := range c.unused() {
			b.DeleteChain(unused.build(t))
		}
	}
	if b.Operations() == 0 {
		return 0, nil
	}
	err := d.nft.Commit(ctx, b)
	if errors.Is(err, unix.EBUSY) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("deleting unused chains: %w", err)
	}
	for _, c := range d.content {
		for _, unused := range c.unused() {
			delete(c.chains, unused)
		}
	}
	return b.Operations(), nil
}

// want copies what the caller goes on changing.
func (d *Dataplane) want(desired model.Desired) (*wanted, error) {
	nodePorts, err := d.nodePortAddresses(&desired.Node)
	if err != nil {
		return nil, err
	}
	return &wanted{Desired: desired.Clone(), nodePorts: nodePorts}, nil
}

// Close closes the netlink socket.
func (d *Dataplane) Close() error { return d.nft.Close() }
