// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// vips are the virtual addresses: those that frontends have, and those on our device.
type vips struct {
	device    device
	netns     int                // see Options
	frontends map[netip.Addr]int // on each virtual address
	sources   sources

	// mu guards the fields that watch reads.
	mu        sync.Mutex
	bound     map[netip.Addr]struct{} // the addresses on our device
	elsewhere map[netip.Addr]struct{} // the node's other addresses
}

// read reads the addresses of the node. It returns how many addresses others have added to
// our device, or removed from it.
func (v *vips) read() (int, error) {
	bound, elsewhere, err := v.device.addresses()
	if err != nil {
		return 0, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	found := missing(bound, v.bound) + missing(v.bound, bound)
	v.bound, v.elsewhere = bound, elsewhere
	return found, nil
}

// missing counts the addresses of a that are not in b.
func missing(a, b map[netip.Addr]struct{}) int {
	n := 0
	for addr := range a {
		if _, ok := b[addr]; !ok {
			n++
		}
	}
	return n
}

// own returns the node's addresses without the virtual ones.
func (v *vips) own() ([]netip.Addr, error) {
	return slices.Collect(maps.Keys(v.elsewhere)), nil
}

// count counts the frontends on each virtual address.
func (v *vips) count(frontends map[model.FrontendKey]*model.Frontend) {
	v.frontends = make(map[netip.Addr]int, len(v.frontends))
	for key := range frontends {
		if !key.IsNodePort() {
			v.frontends[key.Address]++
		}
	}
}

// countChange counts a changed frontend and says whether its address is a new virtual one.
func (v *vips) countChange(c model.Change) bool {
	a := c.Key.Address
	if c.Key.IsNodePort() || (c.Old == nil) == (c.New == nil) {
		return false
	}
	if c.New == nil {
		if v.frontends[a]--; v.frontends[a] == 0 {
			delete(v.frontends, a)
		}
		return false
	}
	v.frontends[a]++
	_, foreign := v.elsewhere[a]
	_, bound := v.bound[a]
	return v.frontends[a] == 1 && !foreign && !bound
}

// rejecting returns the addresses that exist for Services only. Packets to them that no
// Service takes are rejected, so that they do not reach a process of the node.
func (v *vips) rejecting() map[netip.Addr]struct{} {
	out := make(map[netip.Addr]struct{}, len(v.frontends))
	for a := range v.frontends {
		out[a] = struct{}{}
	}
	for a := range v.bound {
		out[a] = struct{}{}
	}
	for a := range v.elsewhere {
		delete(out, a)
	}
	return out
}

// bind adds those of the addresses to our device that are virtual and not the node's yet.
// It returns how many it has added.
func (v *vips) bind(addresses map[netip.Addr]struct{}) (int, error) {
	added := 0
	var errs []error
	for a := range addresses {
		_, bound := v.bound[a]
		if _, foreign := v.elsewhere[a]; v.frontends[a] == 0 || bound || foreign {
			continue
		}
		v.setBound(a, true) // before the notification
		if err := v.device.add(a); err != nil {
			v.setBound(a, false)
			errs = append(errs, err)
			continue
		}
		added++
	}
	return added, errors.Join(errs...)
}

// unbind removes those of the addresses from our device that have no frontend and do not
// drain. It returns those that it has removed.
func (v *vips) unbind(addresses map[netip.Addr]struct{}, drains func(netip.Addr) bool) ([]netip.Addr, error) {
	var removed []netip.Addr
	var errs []error
	for a := range addresses {
		if _, bound := v.bound[a]; !bound || v.frontends[a] > 0 || drains(a) {
			continue
		}
		v.setBound(a, false)
		if err := v.device.remove(a); err != nil {
			v.setBound(a, true)
			errs = append(errs, err)
			continue
		}
		removed = append(removed, a)
	}
	return removed, errors.Join(errs...)
}

func (v *vips) setBound(a netip.Addr, bound bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if bound {
		v.bound[a] = struct{}{}
	} else {
		delete(v.bound, a)
	}
}

// isExternal says whether an added or removed address differs from its known place.
func (v *vips) isExternal(a netip.Addr, link int, added bool) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	where := v.elsewhere
	if v.device.is(link) {
		where = v.bound
	}
	_, known := where[a]
	return added != known
}
