// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/bpf"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// frontend is the programmed state of a model.Frontend.
type frontend struct {
	*balancer
	rules   *model.Frontend
	inside  *inside // that code was assembled for
	code    []bpf.RawInstruction
	sockets map[place]listener
}

// putUp programs a frontend. It returns the number of operations: one for a frontend with
// changed endpoints, and one for each socket.
func (d *Dataplane) putUp(f *model.Frontend) (ops int, err error) {
	have := d.frontends[f.Key]
	if have == nil {
		have = &frontend{balancer: newBalancer(d.clock, d.affinities, &d.routing.inside), sockets: map[place]listener{}}
		d.frontends[f.Key] = have
		if !f.Key.IsNodePort() {
			d.vips[f.Key.Address]++
		}
	}
	changed := have.rules == nil || have.rules != f && !have.rules.Equal(f)
	in := d.routing.inside.Load()
	if changed || !in.equal(have.inside) {
		code, err := assemble(f, in)
		if err != nil {
			return 0, err
		}
		if !slices.Equal(code, have.code) {
			have.code = code
			ops += d.refilter(have)
		}
		have.inside = in
	}
	have.set(f)
	have.rules = f
	if changed {
		ops++
		d.note(f)
		for _, l := range have.sockets {
			l.keep(f.Serving)
		}
	}
	return ops + d.placeSockets(have), nil
}

// refilter sets the desired filter of the sockets. A socket whose filter cannot be set, for
// example because it is larger than net.core.optmem_max, is closed: with the filter before,
// it would accept the wrong clients. placeSockets tries again and reports it.
func (d *Dataplane) refilter(f *frontend) (ops int) {
	for at, l := range f.sockets {
		if err := setFilter(l, f.code); err != nil {
			ops += d.close(f, at, l)
		}
	}
	return ops
}

// takeDown removes a frontend.
func (d *Dataplane) takeDown(key model.FrontendKey) (ops int) {
	have := d.frontends[key]
	if have == nil {
		return 0
	}
	for at, l := range have.sockets {
		ops += d.close(have, at, l)
	}
	delete(d.frontends, key)
	d.leftOut.Forget(key)
	if !key.IsNodePort() {
		if d.vips[key.Address]--; d.vips[key.Address] == 0 {
			delete(d.vips, key.Address)
		}
	}
	return ops + 1
}

// placeSockets opens the missing sockets of a frontend and closes superfluous ones. A port
// that is in use is reported, and the rest is programmed.
func (d *Dataplane) placeSockets(f *frontend) (ops int) {
	wanted := d.withoutReserved(f.rules, d.socketsOf(f.rules))
	for at, l := range f.sockets {
		if l.broken() {
			d.broken++
		} else if slices.Contains(wanted, at) {
			continue
		}
		ops += d.close(f, at, l)
	}
	d.leftOut.Remove(reasonSocket, f.rules.Key)
	for _, at := range wanted {
		if f.sockets[at] != nil {
			continue
		}
		d.places.Store(at, struct{}{}) // before a connection can be proxied to it
		l, err := d.proxy.listen(at, f.balancer, f.code)
		if err != nil {
			d.places.Delete(at)
			d.leftOut.Add(reasonSocket, "frontends have no socket: "+err.Error(), f.rules.Key, f.rules.Service)
			continue
		}
		f.sockets[at] = l
		ops++
	}
	return ops
}

// withoutReserved leaves out the places that are kept free for processes of the node, and
// reports them.
func (d *Dataplane) withoutReserved(f *model.Frontend, wanted []place) []place {
	d.leftOut.Remove(reasonReserved, f.Key)
	return slices.DeleteFunc(wanted, func(at place) bool {
		why := reserved(at, f.Key.IsNodePort() || d.routing.isOwn(at.Address))
		if why != "" {
			d.leftOut.Add(reasonReserved, why, f.Key, f.Service)
		}
		return why != ""
	})
}

func (d *Dataplane) close(f *frontend, at place, l listener) (ops int) {
	_ = l.Close() // the descriptor is closed, whatever the error
	now := time.Now()
	lastClosed.Store(&now)
	d.places.Delete(at)
	delete(f.sockets, at)
	return 1
}

// socketsOf returns where a frontend listens. One that rejects all clients has no socket:
// then the kernel refuses. One that drops all clients has one, with a filter.
func (d *Dataplane) socketsOf(f *model.Frontend) (out []place) {
	if f.Key.Protocol == model.SCTP || f.Internal.Verdict == model.Reject && f.External.Verdict == model.Reject {
		return nil
	}
	at := f.Key
	if !f.Key.IsNodePort() {
		return []place{at}
	}
	for a := range d.routing.nodePorts {
		if a.Is4() == f.Key.Address.Is4() && !a.IsLinkLocalUnicast() {
			at.Address = a
			out = append(out, at)
		}
	}
	if d.desired.Node.NodePortLocalhost && f.Key.Protocol == model.TCP && f.Key.Address.Is4() {
		at.Address = localhost
		out = append(out, at)
	}
	return out
}

var localhost = netip.AddrFrom4([4]byte{127, 0, 0, 1})
