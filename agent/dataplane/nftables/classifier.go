// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"errors"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Classifier is the table for the mode IPVS: it refuses, drops and marks, and
// leaves the choice of endpoints to IPVS. A change is made in two steps, so that
// the caller can bring in what a packet will need once it is classified: Plan or
// PlanDelta, then Commit.
type Classifier struct {
	dataplane *Dataplane
	next      *plan
}

// Planned says what a Plan has found.
type Planned struct {
	// Removed are the frontends that the table held and that are wanted no more,
	// with their firewall marks (0: none). It is known only when the table was
	// read.
	Removed map[model.FrontendKey]uint32

	// NodePorts are the addresses that node ports answered on by the table. It is
	// known in the same case.
	NodePorts map[netip.Addr]struct{}
}

// NewClassifier returns a Classifier for a network namespace. addresses returns
// the node's addresses, those that belong to Services left out.
func NewClassifier(o Options, addresses func() ([]netip.Addr, error)) (*Classifier, error) {
	d, err := New(o)
	if err != nil {
		return nil, err
	}
	d.layout, d.addresses = classifying, addresses
	return &Classifier{dataplane: d}, nil
}

// Incoming is Dataplane.Incoming.
func (c *Classifier) Incoming(ctx context.Context, from dataplane.Kind) error {
	return c.dataplane.Incoming(ctx, from)
}

// Plan plans to make the table equal to desired.
func (c *Classifier) Plan(ctx context.Context, desired model.Desired) (Planned, error) {
	p, err := c.dataplane.plan(ctx, desired)
	c.next = &p
	return Planned{Removed: p.removed, NodePorts: p.nodePorts}, err
}

// PlanDelta plans a change on top of what was committed last.
func (c *Classifier) PlanDelta(_ context.Context, delta model.Delta) error {
	p, err := c.dataplane.planDelta(delta)
	c.next = &p
	return err
}

// Commit makes the planned change.
func (c *Classifier) Commit(ctx context.Context) (dataplane.Result, error) {
	if c.next == nil || c.next.batch == nil {
		return dataplane.Result{}, errors.New("nothing is planned")
	}
	p := *c.next
	c.next = nil
	return c.dataplane.carryOut(ctx, p)
}

// Mark returns the firewall mark of a frontend after the planned change; 0: none.
func (c *Classifier) Mark(key model.FrontendKey) uint32 {
	for t, content := range c.dataplane.content {
		if t.ours(key.Address) {
			return content.frontends[key].mark
		}
	}
	return 0
}

// Desired returns what was planned or committed last, for reading only.
func (c *Classifier) Desired() model.Desired {
	if w := c.wanted(); w != nil {
		return w.Desired
	}
	return model.NewDesired()
}

// wanted is what was planned or committed last, nil if nothing was.
func (c *Classifier) wanted() *wanted {
	if c.next != nil && c.next.after != nil {
		return c.next.after
	}
	return c.dataplane.last
}

// IPv6Error says why IPv6 is not programmed; nil if it is, or not known yet. An error
// that is not ErrUnsupported is tried again by a Plan.
func (c *Classifier) IPv6Error() error { return c.dataplane.noIPv6 }

// NodePorts returns the addresses that node ports answer on, after the planned
// change.
func (c *Classifier) NodePorts() map[netip.Addr]struct{} {
	if w := c.wanted(); w != nil {
		return w.nodePorts
	}
	return nil
}

// Probe, Watch, Cleanup and Close are those of the dataplane.

// Probe says whether this kernel can hold the table.
func (c *Classifier) Probe(ctx context.Context) error {
	_, err := c.dataplane.Probe(ctx, nil)
	return err
}

// Watch calls changed when somebody else has changed the table.
func (c *Classifier) Watch(ctx context.Context, changed func()) error {
	return c.dataplane.Watch(ctx, changed)
}

// Cleanup deletes the table.
func (c *Classifier) Cleanup(ctx context.Context) error { return c.dataplane.Cleanup(ctx) }

// Close closes the netlink socket.
func (c *Classifier) Close() error { return c.dataplane.Close() }
