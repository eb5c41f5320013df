// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"maps"
	"slices"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// list identifies a list of endpoints without reading it. The frontends of a port share
// theirs: a Service with 256 addresses and 100 ports has 25,600 frontends and some hundred
// lists, and work is done once for each list.
type list struct {
	first *model.Endpoint
	n     int
}

func listOf(endpoints []model.Endpoint) list {
	if len(endpoints) == 0 {
		return list{}
	}
	return list{&endpoints[0], len(endpoints)}
}

// listsOf returns where a frontend keeps its lists.
func listsOf(f *model.Frontend) [3]*[]model.Endpoint {
	return [3]*[]model.Endpoint{&f.Internal.Endpoints, &f.External.Endpoints, &f.Serving}
}

// outline is what lists that are equal have in common.
type outline struct {
	first, last model.Endpoint
	n           int
}

func outlineOf(endpoints []model.Endpoint) outline {
	return outline{endpoints[0], endpoints[len(endpoints)-1], len(endpoints)}
}

// share makes frontends use the lists of those that they replace if these are equal: then
// comparing the addresses of the lists shows that nothing has changed.
func share(frontends, old []*model.Frontend) {
	known, seen := map[outline][]model.Endpoint{}, map[list]struct{}{}
	for _, f := range old {
		for _, l := range listsOf(f) {
			if _, twice := seen[listOf(*l)]; twice || len(*l) == 0 {
				continue
			}
			seen[listOf(*l)] = struct{}{}
			known[outlineOf(*l)] = *l
		}
	}
	chosen := map[list][]model.Endpoint{}
	for _, f := range frontends {
		for _, l := range listsOf(f) {
			if len(*l) == 0 {
				continue
			}
			before, done := chosen[listOf(*l)]
			if !done {
				if before = known[outlineOf(*l)]; !slices.Equal(before, *l) {
					before = *l
				}
				chosen[listOf(*l)] = before
			}
			*l = before
		}
	}
}

// distinctEndpoints counts the distinct endpoints of frontends. Ports rarely have endpoints
// in common, because each has its own target port: then the lengths of the lists are added.
func distinctEndpoints(frontends []*model.Frontend) int {
	seen, byTarget := map[list]struct{}{}, map[uint16][][]model.Endpoint{}
	for _, f := range frontends {
		for _, endpoints := range [...][]model.Endpoint{f.Internal.Endpoints, f.External.Endpoints} {
			if _, twice := seen[listOf(endpoints)]; twice || len(endpoints) == 0 {
				continue
			}
			seen[listOf(endpoints)] = struct{}{}
			target := commonPort(endpoints)
			byTarget[target] = append(byTarget[target], endpoints)
		}
	}
	if len(byTarget[severalPorts]) > 0 {
		return countDistinct(slices.Concat(slices.Collect(maps.Values(byTarget))...))
	}
	n := 0
	for _, lists := range byTarget {
		n += countDistinct(lists)
	}
	return n
}

// severalPorts stands for the port of endpoints with different ports.
const severalPorts = 0

func commonPort(endpoints []model.Endpoint) uint16 {
	for _, e := range endpoints {
		if e.Port() != endpoints[0].Port() {
			return severalPorts
		}
	}
	return endpoints[0].Port()
}

func countDistinct(lists [][]model.Endpoint) int {
	if len(lists) == 1 {
		return len(lists[0])
	}
	distinct := map[model.Endpoint]struct{}{}
	for _, endpoints := range lists {
		for _, e := range endpoints {
			distinct[e] = struct{}{}
		}
	}
	return len(distinct)
}
