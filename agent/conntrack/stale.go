// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"slices"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// stale says whether an entry must go. f is the frontend that the client sends
// to; nil: it was removed.
//
// UDP has no end: a client that goes on sending keeps its entry, whatever became
// of the endpoint. So every entry goes whose endpoint serves no longer, and one
// that is older than the frontend and was let through untranslated.
//
// TCP ends by itself, and a connection that is established ends with its endpoint.
// Only a client whose first SYN went to an endpoint that is gone would go on
// sending it there.
func stale(e Entry, f *model.Frontend) bool {
	if e.Protocol == model.TCP && (!e.Unanswered || !e.translated()) {
		return false
	}
	if !e.translated() && (f == nil || e.OtherZone) {
		return false
	}
	return f == nil || !slices.Contains(keeps(f), e.Endpoint)
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

// affects says whether a change can make entries stale.
func affects(c model.Change) bool {
	switch c.Key.Protocol {
	case model.UDP:
		return c.Old == nil || c.New == nil || lost(c)
	case model.TCP:
		return c.Old != nil && lost(c)
	}
	return false
}

// lost says whether some endpoint may keep its flows no longer.
func lost(c model.Change) bool {
	now := keeps(c.New)
	return c.New == nil || slices.ContainsFunc(keeps(c.Old), func(e model.Endpoint) bool { return !slices.Contains(now, e) })
}

// older says whether a change can have left entries that are older than the
// frontend.
func older(c model.Change) bool { return c.Key.Protocol == model.UDP && c.Old == nil }
