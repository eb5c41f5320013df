// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"net/netip"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// wantedServer is the desired state of a virtual server.
type wantedServer struct {
	server

	// endpoints get connections, sorted. serving may keep their flows; it is set for UDP
	// only. See model.Frontend.
	endpoints []model.Endpoint
	serving   []model.Endpoint
	udp       bool

	// vip is the address that packets with a firewall mark are to.
	vip netip.Addr
}

// serverRules determine the virtual servers of a frontend.
type serverRules struct {
	settings  Settings
	nodePorts map[netip.Addr]struct{} // the addresses that node ports answer on
	elsewhere map[netip.Addr]struct{} // those that are not on our device

	sizes   *sizes // nil: only the keys of the virtual servers are needed
	subsets subsets
}

// servers returns the virtual servers of a frontend. mark is the firewall mark of packets
// from outside, if these have other endpoints.
func (r *serverRules) servers(f *model.Frontend, mark uint32) map[serverKey]wantedServer {
	if f == nil {
		return nil
	}
	out := map[serverKey]wantedServer{}
	if f.Internal.Verdict == model.Forward {
		want := r.wanted(f, f.Internal)
		want.persistence = uint32(max(f.AffinityTimeoutSeconds, 0))
		if _, elsewhere := r.elsewhere[f.Key.Address]; elsewhere || f.Key.IsNodePort() {
			want.flags |= flagOurs
		}
		for _, key := range r.addresses(f.Key) {
			out[key] = want
		}
	}
	if mark != 0 {
		want := r.wanted(f, f.External)
		want.vip = f.Key.Address
		if f.AffinityTimeoutSeconds > 0 {
			// The kernel does not translate the port of persistent connections to a
			// virtual server with a firewall mark (ip_vs_sched_persist). Source hashing
			// keeps a client's real server as well, and for longer.
			want.server = server{scheduler: schedulerSH}.usable()
		}
		out[onMark(model.FamilyOf(f.Key.Address), mark)] = want
	}
	return out
}

// wanted returns the virtual server of one of a frontend's backends.
func (r *serverRules) wanted(f *model.Frontend, b model.Backend) wantedServer {
	endpoints := b.Endpoints
	if r.sizes != nil {
		endpoints = r.subsets.of(r.sizes, f.Service, endpoints)
	}
	return wantedServer{
		server:    server{scheduler: r.settings.Scheduler, flags: flagsOf(r.settings.SchedulerFlags)}.usable(),
		endpoints: endpoints, serving: f.Serving, udp: f.Key.Protocol == model.UDP,
	}
}

// addresses returns the keys of a frontend's virtual servers: a node port has one on each
// address of the node that it answers on.
func (r *serverRules) addresses(k model.FrontendKey) []serverKey {
	if !k.IsNodePort() {
		return []serverKey{onAddress(k)}
	}
	var out []serverKey
	for a := range r.nodePorts {
		if a.Is4() == k.Address.Is4() {
			out = append(out, onAddress(model.FrontendKey{Address: a, Protocol: k.Protocol, Port: k.Port}))
		}
	}
	return out
}

// The schedulers that map clients to real servers with a hash table.
const (
	schedulerSH = "sh"
	schedulerDH = "dh"
	schedulerMH = "mh"
)

// usable returns the virtual server with the flag that sh and mh always need: otherwise
// they would still choose real servers of weight 0, and reject the connection. Without
// such real servers the flag has no effect.
func (s server) usable() server {
	if s.scheduler == schedulerSH || s.scheduler == schedulerMH {
		s.flags |= flagScheduler1
	}
	return s
}

// whileDraining returns the virtual server as needed while some of its real servers get no
// new connections: dh has no such flag, so that sh replaces it.
func (s server) whileDraining() server {
	if s.scheduler == schedulerDH {
		s.scheduler = schedulerSH
	}
	return s.usable()
}
