// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"math"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Costs are what determines the cost of a change for a mode.
type Costs struct {
	// Share says that the frontends of a port share their endpoints.
	Share bool
	// MaxEndpoints is how many endpoints of a Service are programmed at most, of all its
	// ports together (without Share, of all its frontends); 0: any number.
	MaxEndpoints int
	// Rewrite says that one changed endpoint of a port costs as much as all of them.
	Rewrite bool
}

// comparison is the costs of changes. It compares each pair of lists once.
type comparison struct {
	Costs
	known     map[pair]int            // cost
	frontends map[model.ServiceID]int // without Share: how many are not flushed yet
}

// pair is a list and the one that replaces it, with how many endpoints of them are
// programmed at most.
type pair struct {
	old, now         list
	mostOld, mostNow int
}

// comparison returns one for what is not flushed yet.
func (t *Table) comparison(costs Costs) comparison {
	c := comparison{Costs: costs, known: map[pair]int{}}
	if costs.MaxEndpoints == 0 || costs.Share {
		return c
	}
	c.frontends = map[model.ServiceID]int{}
	for key, p := range t.touched {
		f := t.winner(key)
		if f != nil {
			c.frontends[f.Service]++
		}
		if p.old != nil && (f == nil || f.Service != p.old.Service) {
			c.frontends[p.old.Service]++
		}
	}
	return c
}

// most is how many endpoints of each list of a frontend are programmed.
func (c comparison) most(f *model.Frontend) int {
	switch {
	case c.MaxEndpoints == 0:
		return math.MaxInt
	case c.Share:
		return model.EndpointsEach(c.MaxEndpoints, f.Ports)
	}
	return model.EndpointsEach(c.MaxEndpoints, c.frontends[f.Service])
}

// costOf returns the cost of a change of a frontend.
func (c comparison) costOf(old, now *model.Frontend) int {
	if old == nil {
		old = &model.Frontend{Service: now.Service, Ports: now.Ports}
	}
	if now == nil {
		now = &model.Frontend{Service: old.Service, Ports: old.Ports}
	}
	mostOld, mostNow := c.most(old), c.most(now)
	cost := func(a, b []model.Endpoint) int {
		return c.costOfLists(a, b, pair{listOf(a), listOf(b), mostOld, mostNow})
	}
	n := 1 + cost(old.Internal.Endpoints, now.Internal.Endpoints) + differences(old.Sources, now.Sources, model.ComparePrefix)
	if old.ExternalDiffers() || now.ExternalDiffers() {
		n += cost(old.External.Endpoints, now.External.Endpoints)
	}
	return n
}

// costOfLists returns the cost of a changed list.
func (c comparison) costOfLists(a, b []model.Endpoint, p pair) int {
	n, known := c.known[p]
	if known {
		if c.Share {
			return 0
		}
		return n
	}
	usedOld, usedNow := min(p.mostOld, len(a)), min(p.mostNow, len(b))
	less, more := min(usedOld, usedNow), max(usedOld, usedNow)
	n = max(more-less, min(max(p.mostOld, p.mostNow), differences(a, b, model.Endpoint.Compare)))
	if n > 0 && c.Rewrite {
		n = more
	}
	c.known[p] = n
	return n
}

// differences counts the elements that are in only one of two sorted lists.
func differences[T any](a, b []T, compare func(T, T) int) (n int) {
	if len(a) > 0 && len(a) == len(b) && &a[0] == &b[0] {
		return 0
	}
	for len(a) > 0 && len(b) > 0 {
		switch c := compare(a[0], b[0]); {
		case c == 0:
			a, b = a[1:], b[1:]
		case c < 0:
			a, n = a[1:], n+1
		default:
			b, n = b[1:], n+1
		}
	}
	return n + len(a) + len(b)
}
