// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// settled is after which time an agent cannot see any more that the world was different
// before. A view that is older may make a frontend disappear, and come back.
const settled = 150 * time.Second

// oracle knows what each frontend may lead to. It learns each change of the world before the
// apiserver does.
type oracle struct {
	mu        sync.Mutex
	frontends map[netip.AddrPort]*truth
	endpoints map[netip.AddrPort]*past // no two Services have one
	// lived are the endpoints that a node's kernel has had, and that have been ready for
	// settled by then and since, by node and frontend.
	lived map[string]map[netip.AddrPort]map[netip.AddrPort]bool
	// excused are the Services that a node's kernel may lose, until the next calm.
	excused map[string]map[string]bool
}

// truth is the history of a frontend.
type truth struct {
	service *service             // nil: it does not exist, or another proxy has it
	begun   time.Time            // when it got this Service, with this policy
	lost    map[string]time.Time // by Services that had it
}

// since is when the last Service lost the frontend.
func (t *truth) since() (last time.Time) {
	for _, lost := range t.lost {
		if lost.After(last) {
			last = lost
		}
	}
	return last
}

// past is the history of an endpoint.
type past struct {
	endpoint
	service string
	valid   bool // it may get traffic
	lost    time.Time
	ready   time.Time // since when it is
}

func newOracle() *oracle {
	return &oracle{frontends: map[netip.AddrPort]*truth{}, endpoints: map[netip.AddrPort]*past{},
		lived: map[string]map[netip.AddrPort]map[netip.AddrPort]bool{}, excused: map[string]map[string]bool{}}
}

// update notes the state of the world.
func (o *oracle) update(w *world) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	wanted := map[netip.AddrPort]*service{}
	for _, s := range w.services {
		if !s.other {
			wanted[s.frontend()] = s.clone()
		}
	}
	for at := range wanted {
		if o.frontends[at] == nil {
			o.frontends[at] = &truth{lost: map[string]time.Time{}}
		}
	}
	for at, t := range o.frontends {
		if s := t.service; s != nil && (wanted[at] == nil || wanted[at].name != s.name) {
			t.lost[s.name] = now
		}
		if s := wanted[at]; s != nil && (t.service == nil || t.service.name != s.name || t.service.local != s.local) {
			t.begun = now
		}
		if t.service = wanted[at]; t.service != nil {
			delete(t.lost, t.service.name)
		}
	}
	o.updateEndpoints(w, now)
	for node, lived := range o.lived {
		for at, endpoints := range lived {
			maps.DeleteFunc(endpoints, func(e netip.AddrPort, _ bool) bool { return !o.lives(at, e, node) })
		}
	}
}

func (o *oracle) updateEndpoints(w *world, now time.Time) {
	there := map[netip.AddrPort]bool{}
	for _, s := range w.services {
		for _, slice := range s.slices {
			for _, e := range slice {
				there[e.at] = true
				p := o.endpoints[e.at]
				if p == nil {
					p = &past{service: s.name, lost: now}
					o.endpoints[e.at] = p
				}
				if e.state == ready && (p.state != ready || !p.valid) {
					p.ready = now
				}
				p.endpoint = e
				p.set(e.state != unready, now)
			}
		}
	}
	for at, p := range o.endpoints {
		if !there[at] {
			p.state = unready
			p.set(false, now)
		}
	}
}

func (p *past) set(valid bool, now time.Time) {
	if p.valid && !valid {
		p.lost = now
	}
	p.valid = valid
}

// lives says whether an endpoint of a frontend is ready and may be used by a node, whatever
// the version of its agent.
func (o *oracle) lives(frontend, e netip.AddrPort, node string) bool {
	s, p := o.frontends[frontend].service, o.endpoints[e]
	return s != nil && p != nil && p.service == s.name && p.valid && p.state == ready && (!s.local || p.node == node)
}

// lostAt says since when an endpoint is not one of a frontend; had: it was one at some time.
func (o *oracle) lostAt(t *truth, e netip.AddrPort) (lost time.Time, had bool) {
	p := o.endpoints[e]
	if p == nil {
		return lost, false
	}
	if !p.valid {
		lost = p.lost
	}
	if t.service != nil && t.service.name == p.service {
		return lost, true
	}
	moved, had := t.lost[p.service]
	if lost.IsZero() || moved.Before(lost) {
		lost = moved
	}
	return lost, had
}

// forget forgets what a node's kernel has had: it was rebooted.
func (o *oracle) forget(node string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.lived, node)
}

// share returns how many endpoints of a Service have been ready for long, and how many others an
// agent may have or may have had not long ago: also those that are gone, of deleted Services too.
func (o *oracle) share(service string) (long, others int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.endpoints {
		switch {
		case p.service != service || !p.valid:
			if p.valid || time.Since(p.lost) < settled {
				others++
			}
		case p.state == ready && time.Since(p.ready) > settled:
			long++
		}
	}
	return long, others
}

// isService says whether there is a Service of a name.
func (o *oracle) isService(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range o.frontends {
		if t.service != nil && t.service.name == name {
			return true
		}
	}
	return false
}

// excuse notes which Services a node's kernel may lose.
func (o *oracle) excuse(node string, which func(service string) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.excused[node] == nil {
		o.excused[node] = map[string]bool{}
	}
	for at, t := range o.frontends {
		if t.service != nil && which(t.service.name) {
			o.excused[node][t.service.name] = true
			delete(o.lived[node], at)
		}
	}
}

// pardon ends all excuses.
func (o *oracle) pardon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.excused)
}

// check checks the kernel of a node. stale says whether the kernel must have followed by now a
// change at some time.
func (o *oracle) check(node string, kernel model.Desired, stale func(time.Time) bool, fail func(string, ...any)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	lived := o.lived[node]
	if lived == nil {
		lived = map[netip.AddrPort]map[netip.AddrPort]bool{}
		o.lived[node] = lived
	}
	for key, f := range kernel.Frontends {
		at := netip.AddrPortFrom(key.Address, key.Port)
		t := o.frontends[at]
		switch {
		case t == nil:
			fail("the kernel of %s has the frontend %s, which no Service ever had", node, at)
			continue
		case t.service == nil && stale(t.since()):
			fail("the kernel of %s has the frontend %s, which no Service has since %s", node, at, time.Since(t.since()))
		}
		for _, e := range f.Internal.Endpoints {
			switch lost, had := o.lostAt(t, e); {
			case !had:
				fail("the kernel of %s leads %s to %s, which was never an endpoint of it", node, at, e)
			case !lost.IsZero() && stale(lost):
				fail("the kernel of %s leads %s to %s, which is no endpoint since %s", node, at, e, time.Since(lost))
			case o.lives(at, e, node) && !o.excused[node][t.service.name] && time.Since(t.begun) > settled && time.Since(o.endpoints[e].ready) > settled:
				if lived[at] == nil {
					lived[at] = map[netip.AddrPort]bool{}
				}
				lived[at][e] = true
			}
		}
	}
	for at, endpoints := range lived {
		key := model.FrontendKey{Address: at.Addr(), Protocol: model.TCP, Port: at.Port()}
		f := kernel.Frontends[key]
		for e := range endpoints {
			switch {
			case f == nil:
				fail("the kernel of %s has lost the frontend %s, though %s lives", node, at, e)
			case len(f.Internal.Endpoints) == 0:
				fail("the kernel of %s leads %s nowhere, though %s lives", node, at, e)
			default:
				continue
			}
			break
		}
	}
}

// wanted returns what the kernel of a node has to have when nothing has changed for long.
// knowsLocal says whether the node's agent knows internalTrafficPolicy.
func (o *oracle) wanted(node string, knowsLocal bool) map[netip.AddrPort]map[netip.AddrPort]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[netip.AddrPort]map[netip.AddrPort]bool{}
	for at, t := range o.frontends {
		if t.service == nil {
			continue
		}
		usable := map[podState]map[netip.AddrPort]bool{ready: {}, terminating: {}}
		for e, p := range o.endpoints {
			if p.service == t.service.name && p.valid && (!t.service.local || !knowsLocal || p.node == node) {
				usable[p.state][e] = true
			}
		}
		out[at] = usable[ready]
		if len(out[at]) == 0 {
			out[at] = usable[terminating]
		}
	}
	return out
}
