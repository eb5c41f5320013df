// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// readAddresses looks which addresses the node has. It returns on how many others
// have put on our device, or taken from it.
func (d *Dataplane) readAddresses() (int, error) {
	bound, elsewhere, err := d.device.addresses()
	if err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	found := 0
	if d.adopted {
		found = missing(bound, d.bound) + missing(d.bound, bound)
	}
	d.bound, d.elsewhere = bound, elsewhere
	return found, nil
}

// missing counts the addresses of a that b does not have.
func missing(a, b map[netip.Addr]struct{}) int {
	n := 0
	for addr := range a {
		if _, ok := b[addr]; !ok {
			n++
		}
	}
	return n
}

// ownAddresses are the node's addresses that are no virtual ones.
func (d *Dataplane) ownAddresses() ([]netip.Addr, error) {
	return slices.Collect(maps.Keys(d.elsewhere)), nil
}

// excluded says whether the policy excludes virtual servers on an address.
func (settings *Settings) excluded(a netip.Addr) bool {
	return slices.ContainsFunc(settings.ExcludeCIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// leaves says whether frontends on an address are not programmed: they are
// excluded, or of a family that this node does not have.
func (d *Dataplane) leaves(a netip.Addr) bool {
	return a.Is6() && d.noIPv6 != nil || d.settings.excluded(a)
}

// leaveOut returns desired without the frontends that are not programmed.
func (d *Dataplane) leaveOut(desired model.Desired) model.Desired {
	if len(d.settings.ExcludeCIDRs) == 0 && d.noIPv6 == nil {
		return desired
	}
	desired.Frontends = maps.Clone(desired.Frontends)
	maps.DeleteFunc(desired.Frontends, func(k model.FrontendKey, f *model.Frontend) bool {
		d.noteIPv6(k, f)
		return d.leaves(k.Address)
	})
	return desired
}

// count counts the frontends on each virtual address, and notes those whose
// affinity the kernel does not keep to the second.
func (d *Dataplane) count(desired model.Desired) {
	d.vips = make(map[netip.Addr]int, len(d.vips))
	d.leftOut.Clear(reasonAffinity)
	for key, f := range desired.Frontends {
		if !key.IsNodePort() {
			d.vips[key.Address]++
		}
		d.noteClamped(key, f)
	}
}

// countChange counts a changed frontend and says whether its address is a new
// virtual one.
func (d *Dataplane) countChange(c model.Change) bool {
	d.noteClamped(c.Key, c.New)
	a := c.Key.Address
	if c.Key.IsNodePort() || (c.Old == nil) == (c.New == nil) {
		return false
	}
	if c.New == nil {
		if d.vips[a]--; d.vips[a] == 0 {
			delete(d.vips, a)
		}
		return false
	}
	d.vips[a]++
	_, foreign := d.elsewhere[a]
	_, bound := d.bound[a]
	return d.vips[a] == 1 && !foreign && !bound
}

// refused are the addresses that are there for Services only, or still are: what
// no Service takes there is refused, lest it reach a process of the node.
func (d *Dataplane) refused() map[netip.Addr]struct{} {
	out := make(map[netip.Addr]struct{}, len(d.vips))
	for a := range d.vips {
		out[a] = struct{}{}
	}
	for a := range d.bound {
		out[a] = struct{}{}
	}
	for a := range d.elsewhere {
		delete(out, a)
	}
	return out
}

// drains says whether a virtual server on an address waits for its connections.
func (d *Dataplane) drains(a netip.Addr) bool {
	for key := range d.servers.draining {
		if key.Address == a {
			return true
		}
	}
	return false
}

// bind puts those of the addresses on our device that are virtual ones and not
// yet the node's.
func (d *Dataplane) bind(addresses map[netip.Addr]struct{}, stats *dataplane.Result) error {
	var errs []error
	for a := range addresses {
		_, bound := d.bound[a]
		if _, foreign := d.elsewhere[a]; d.vips[a] == 0 || bound || foreign {
			continue
		}
		d.setBound(a, true) // before the notification
		if err := d.device.add(a); err != nil {
			d.setBound(a, false)
			errs = append(errs, err)
			continue
		}
		stats.Operations++
	}
	return errors.Join(errs...)
}

// unbind takes those of the addresses from our device that nothing needs any
// more. Only then the table stops to refuse what comes for them.
func (d *Dataplane) unbind(ctx context.Context, addresses map[netip.Addr]struct{}, stats *dataplane.Result) error {
	var errs []error
	var delta model.Delta
	inTable := d.filter.Desired().ClusterIPs
	for a := range addresses {
		if _, bound := d.bound[a]; !bound || d.vips[a] > 0 || d.drains(a) {
			continue
		}
		d.setBound(a, false)
		if err := d.device.remove(a); err != nil {
			d.setBound(a, true)
			errs = append(errs, err)
			continue
		}
		stats.Operations++
		if _, ok := inTable[a]; ok {
			delta.ClusterIPs.Removed = append(delta.ClusterIPs.Removed, a)
		}
	}
	if delta.Empty() || len(errs) > 0 {
		return errors.Join(errs...)
	}
	if err := d.filter.PlanDelta(delta); err != nil {
		return err
	}
	more, err := d.filter.Commit(ctx)
	stats.Operations += more.Operations
	return err
}

func (d *Dataplane) setBound(a netip.Addr, bound bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if bound {
		d.bound[a] = struct{}{}
	} else {
		delete(d.bound, a)
	}
}
