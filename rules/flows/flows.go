// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package flows decides which flows outlive a change of the rules. The kernel evaluates
// the rules for the first packet of a flow only, and sends the rest the same way. So a
// flow must be deleted if a new flow would not go where it goes.
package flows

import (
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Flow is what connection tracking knows of a flow.
type Flow struct {
	Protocol model.Protocol

	// Destination is where the client, Source, sends its packets. Endpoint is where the
	// kernel forwards them: the source of the expected reply. They differ if the
	// destination is translated.
	Source, Destination, Endpoint netip.AddrPort

	// Unanswered says that no reply has been seen yet; for TCP, that the client has sent
	// its SYN and no more.
	Unanswered bool

	// OtherZone says that the flow is not in the default zone. The same packet may be
	// tracked in several zones, of which only one translates it.
	OtherZone bool
}

// Translated says whether the flow goes to another address than its client sends to.
func (f Flow) Translated() bool { return f.Destination != f.Endpoint }

// Tracked says whether flows of a protocol can be stale. SCTP associations end by
// themselves.
func Tracked(p model.Protocol) bool { return p == model.UDP || p == model.TCP }

// HalfOpen says whether only unanswered flows of a protocol can be stale.
func HalfOpen(p model.Protocol) bool { return p == model.TCP }

// Rules are the rules that Stale compares flows with.
type Rules struct {
	// Frontend returns the frontend of a key; nil if there is none. Removed says whether
	// the frontend of a key was removed by the current change.
	Frontend func(model.FrontendKey) *model.Frontend
	Removed  func(model.FrontendKey) bool

	// NodePortAddresses are the addresses that node ports answer on. The port alone is not
	// enough: the node may forward packets to the same port of other machines.
	NodePortAddresses map[netip.Addr]struct{}
}

// Stale says whether a flow must be deleted, and which frontend it belongs to.
func (r Rules) Stale(f Flow) (model.FrontendKey, bool) {
	key := keyOf(f.Protocol, f.Destination)
	keys := [...]model.FrontendKey{key, key}
	if _, local := r.NodePortAddresses[key.Address]; local {
		keys[1] = key.NodePort()
	}
	for _, key := range keys {
		if frontend := r.Frontend(key); frontend != nil {
			return key, stale(f, frontend)
		}
	}
	for _, key := range keys {
		if r.Removed(key) && stale(f, nil) {
			return key, true
		}
	}
	// A reply from the address of a Service, untranslated: the reverse direction of a flow
	// that is older than the frontend. This says nothing about node ports: the node may
	// send from any port.
	key = keyOf(f.Protocol, f.Source)
	return key, f.Protocol == model.UDP && !f.Translated() && !f.OtherZone && r.Frontend(key) != nil
}

func keyOf(p model.Protocol, at netip.AddrPort) model.FrontendKey {
	return model.FrontendKey{Address: at.Addr(), Protocol: p, Port: at.Port()}
}

// stale says whether a flow must be deleted. to is the frontend that the client sends to;
// nil if it was removed.
//
// UDP has no end: a client that goes on sending keeps its flow, whatever became of the
// endpoint. So every flow is deleted whose endpoint no longer serves, and every flow that
// is older than the frontend and was not translated.
//
// TCP ends by itself, and an established connection ends with its endpoint. Only a client
// whose first SYN went to an endpoint that is gone, or to no endpoint at all because there
// were no rules at that moment, would go on sending it there. So would the next connection
// from the same port, for two minutes (nf_conntrack_tcp_timeout_syn_sent).
func stale(f Flow, to *model.Frontend) bool {
	if HalfOpen(f.Protocol) && !f.Unanswered {
		return false
	}
	if !f.Translated() && (to == nil || f.OtherZone) {
		return false
	}
	return to == nil || !slices.Contains(keeps(to), f.Endpoint)
}

// keeps returns the endpoints that may keep the flows they have.
func keeps(f *model.Frontend) []model.Endpoint {
	switch {
	case f == nil:
		return nil
	case f.Key.Protocol == model.UDP:
		return f.Serving
	case slices.Equal(f.Internal.Endpoints, f.External.Endpoints):
		return f.Internal.Endpoints
	}
	return slices.Concat(f.Internal.Endpoints, f.External.Endpoints)
}

// Effect is what a change can mean for existing flows.
type Effect struct {
	// Stale says that some flows may be stale now.
	Stale bool
	// Older says that some flows may be older than the frontend.
	Older bool
}

// EffectOf returns what a change of a frontend can mean for flows to it.
func EffectOf(c model.Change) Effect {
	switch c.Key.Protocol {
	case model.UDP:
		return Effect{Stale: c.Old == nil || loses(c), Older: c.Old == nil}
	case model.TCP:
		return Effect{Stale: c.Old != nil && loses(c)}
	}
	return Effect{}
}

// loses says whether some endpoint may no longer keep its flows.
func loses(c model.Change) bool {
	if c.New == nil {
		return true
	}
	now := keeps(c.New)
	for _, e := range keeps(c.Old) {
		if !slices.Contains(now, e) {
			return true
		}
	}
	return false
}
