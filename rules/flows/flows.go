// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package flows decides which flows outlive a change of the rules. The kernel asks
// the rules about the first packet of a flow only, and sends the rest after it: a
// flow that goes where no new one would has to be ended.
package flows

import (
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Flow is what connection tracking knows of a flow.
type Flow struct {
	Protocol model.Protocol

	// Destination is where the client, Source, sends its packets. Endpoint is where
	// the kernel brings them: the source of what is expected to come back. They
	// differ if the destination was translated.
	Source, Destination, Endpoint netip.AddrPort

	// Unanswered says that nothing has come back yet; with TCP, that the client
	// has sent its SYN and no more.
	Unanswered bool

	// OtherZone says that the flow is not in the default zone. One and the same
	// packet may be tracked in several, of which only one translates it.
	OtherZone bool
}

// Translated says whether the flow goes elsewhere than its client sends it.
func (f Flow) Translated() bool { return f.Destination != f.Endpoint }

// Tracked says whether flows of a protocol can be stale. Those of SCTP end by
// themselves.
func Tracked(p model.Protocol) bool { return p == model.UDP || p == model.TCP }

// HalfOpen says that of a protocol only unanswered flows can be stale.
func HalfOpen(p model.Protocol) bool { return p == model.TCP }

// Rules are what flows are judged by.
type Rules struct {
	// Frontend returns the frontend of a key, nil: there is none. Removed says
	// whether there was one that was removed just now.
	Frontend func(model.FrontendKey) *model.Frontend
	Removed  func(model.FrontendKey) bool

	// NodePortAddresses are the addresses that node ports answer on. The port alone
	// says nothing: the node may forward packets to the same port of others.
	NodePortAddresses map[netip.Addr]struct{}
}

// Stale says whether a flow must end, and which frontend it is about.
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
	// An answer from the address of a Service, untranslated: a flow that is older
	// than the frontend, the other way round. Of node ports this says nothing: the
	// node sends from any port.
	key = keyOf(f.Protocol, f.Source)
	return key, f.Protocol == model.UDP && !f.Translated() && !f.OtherZone && r.Frontend(key) != nil
}

func keyOf(p model.Protocol, at netip.AddrPort) model.FrontendKey {
	return model.FrontendKey{Address: at.Addr(), Protocol: p, Port: at.Port()}
}

// stale says whether a flow must end. to is the frontend that the client sends to;
// nil: it was removed.
//
// UDP has no end: a client that goes on sending keeps its flow, whatever became of
// the endpoint. So every flow ends whose endpoint serves no longer, and one that is
// older than the frontend and was let through untranslated.
//
// TCP ends by itself, and a connection that is established ends with its endpoint.
// Only a client whose first SYN went to an endpoint that is gone would go on
// sending it there.
func stale(f Flow, to *model.Frontend) bool {
	if HalfOpen(f.Protocol) && (!f.Unanswered || !f.Translated()) {
		return false
	}
	if !f.Translated() && (to == nil || f.OtherZone) {
		return false
	}
	return to == nil || !slices.Contains(keeps(to), f.Endpoint)
}

// keeps are the endpoints that may keep the flows they have.
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

// Effect is what a change can have made of flows.
type Effect struct {
	// Stale says that some may be stale now.
	Stale bool
	// Older says that some may be older than the frontend.
	Older bool
}

// EffectOf returns what a change of a frontend can have made of flows to it.
func EffectOf(c model.Change) Effect {
	switch c.Key.Protocol {
	case model.UDP:
		return Effect{Stale: c.Old == nil || loses(c), Older: c.Old == nil}
	case model.TCP:
		return Effect{Stale: c.Old != nil && loses(c)}
	}
	return Effect{}
}

// loses says whether some endpoint may keep its flows no longer.
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
