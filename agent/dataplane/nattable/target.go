// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"context"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Target is what a table does with a packet to a frontend, once the masquerade decision is
// made.
type Target struct {
	// comment is printed by `nft list ruleset`. It carries the version of the layout: a
	// table with another comment is replaced as a whole.
	comment string
	on      func(*layout) target
}

// DNAT sends the packet to one of the endpoints.
func DNAT() Target {
	return Target{"managed by fairlead-agent, manual edits are reverted (layout 4)", newDNAT}
}

// Mark lets IPVS choose the endpoint: by the address of the frontend, or by a firewall
// mark if packets from outside have other endpoints.
func Mark() Target {
	return Target{"managed by fairlead-agent, manual edits are reverted (layout 5 for IPVS)", newMarks}
}

// targets are all Targets, to recognize the tables of each.
func targets() []Target { return []Target{DNAT(), Mark()} }

// target is a Target in the table of a family: its own sets, chains and rules.
type target interface {
	// chains returns constant chains.
	chains() []*nft.Chain

	// lookups returns rules for frontends that are not in the maps of verdicts; gate
	// precedes each.
	lookups(at where, v view, gate []nft.Expr) []nft.Rule

	// localhost is the same for node ports on localhost; nil: there are none.
	localhost(comment string, gate []nft.Expr) []nft.Rule

	// output returns the first rules of that chain.
	output() []nft.Rule

	// postrouting returns the first rules of that chain, and the match for packets of an
	// endpoint to itself.
	postrouting() (first []nft.Rule, hairpin []nft.Expr)

	// rules returns the rules of a chain after those that mark packets to be masqueraded.
	rules(portChain) []nft.Rule

	// want returns the content of the sets for a frontend.
	want(*model.Frontend) wantedFrontend

	// uses returns the lists of endpoints that a frontend uses, by the content of the
	// sets.
	uses(model.FrontendKey, heldFrontend) [views]use

	// put changes elements of the target's own sets for a frontend that stays or is
	// removed.
	put(p *planner, key model.FrontendKey, old, now heldFrontend, stays bool)

	// growList adds and replaces elements for a list of endpoints, shrinkList deletes them.
	// moved says that users of the list may lead elsewhere now.
	growList(p *planner, key listKey, old, now heldList)
	shrinkList(p *planner, key listKey, old, now heldList, moved bool)

	// read reads the target's own sets.
	read(context.Context, *reader) error
}

// wantedFrontend is the content of the sets for a frontend.
type wantedFrontend struct {
	views  [views]heldView
	uses   [views]use
	marked bool // packets from outside get a firewall mark
}

// use says that a view of a frontend leads to a list of endpoints.
type use struct {
	list      listKey // zero: none
	shared    bool    // through the port's key
	endpoints []model.Endpoint
	timeout   int32 // of the clients' affinity in seconds; 0: none
	group     uint8 // of these clients
}
