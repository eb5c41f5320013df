// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"iter"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// maxEndpoints bounds the endpoints of all ports of a Service, for which there is a rule
// each. They are written in 60 ms at most: 100,000 take 1.6 s of the kernel and the programs
// with nft, and with legacy each later change 0.3 s, of whichever Service.
const maxEndpoints = 4096

// subset says which of the endpoints of a port are used.
type subset struct {
	each int
	seed string
}

// sizes are the sizes of Services, and which ports use only some of their endpoints.
type sizes struct {
	ports   map[model.ServiceID]map[portID]int // the most endpoints that a port has had
	reduced map[portID]struct{}
	seed    string // differs between nodes
}

func newSizes() sizes {
	return sizes{ports: map[model.ServiceID]map[portID]int{}, reduced: map[portID]struct{}{}}
}

// on takes the seed from the first settings: another one would change all subsets.
func (s *sizes) on(settings *settings) {
	if s.seed == "" {
		s.seed = settings.SubsetSeed()
	}
}

func (s *sizes) add(id portID, endpoints int) {
	if s.ports[id.service] == nil {
		s.ports[id.service] = map[portID]int{}
	}
	s.ports[id.service][id] = max(endpoints, s.ports[id.service][id])
}

func (s *sizes) remove(id portID) {
	delete(s.reduced, id)
	delete(s.ports[id.service], id)
	if len(s.ports[id.service]) == 0 {
		delete(s.ports, id.service)
	}
}

// each is how many endpoints a port of a Service may use.
func (s *sizes) each(service model.ServiceID) int {
	return model.EndpointsEach(maxEndpoints, len(s.ports[service]))
}

// resized yields the ports of a Service that use more or fewer endpoints than before.
func (s *sizes) resized(service model.ServiceID, before int) iter.Seq[portID] {
	return func(yield func(portID) bool) {
		now := s.each(service)
		for id, endpoints := range s.ports[service] {
			if now != before && endpoints > min(now, before) && !yield(id) {
				return
			}
		}
	}
}

// note notes whether a port uses only some of its endpoints.
func (s *sizes) note(id portID, reduced bool) {
	if reduced {
		s.reduced[id] = struct{}{}
	} else {
		delete(s.reduced, id)
	}
}
