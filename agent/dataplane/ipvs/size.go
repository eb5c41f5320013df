// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// maxReals bounds the real servers of a Service in an address family. IPVS has the
// endpoints at each virtual server, so that addresses, ports and endpoints multiply: 10 to
// 20 µs for each, and memory that grows with the CPUs. Half of them change when the number
// of virtual servers passes a power of two (see model.EndpointsEach). That must not delay
// other Services by more than 100 ms.
const maxReals = 4096

// maxStep bounds the virtual and real servers of one change: 20 to 40 ms.
const maxStep = 2048

var tooManyEndpoints = fmt.Sprintf("new connections use only some of the endpoints: addresses x ports x endpoints of a Service are more than %d, "+
	"which IPVS has one by one; each node uses others. Use fewer addresses, several Services, or the mode NFTables", maxReals)

// sizes are the numbers of virtual servers of Services, which decide how many endpoints
// each of them uses.
type sizes struct {
	most      int          // for tests; 0: maxReals
	seed      string       // differs between nodes
	nodePorts map[bool]int // addresses that node ports answer on; true: IPv4
	servers   map[model.ServiceID]int
	endpoints map[model.ServiceID]int // the most that a frontend has had, while there are servers
}

// on sets the node. It takes the seed from the first settings: another one would change
// the choice of endpoints.
func (s *sizes) on(node *model.NodeSettings, nodePorts map[netip.Addr]struct{}) {
	if s.seed == "" {
		s.seed = node.SubsetSeed()
	}
	s.nodePorts = map[bool]int{}
	for a := range nodePorts {
		s.nodePorts[a.Is4()]++
	}
}

// count counts all frontends.
func (s *sizes) count(all map[model.FrontendKey]*model.Frontend) {
	s.servers, s.endpoints = make(map[model.ServiceID]int, len(s.servers)), make(map[model.ServiceID]int, len(s.endpoints))
	for _, f := range all {
		s.add(f, 1)
	}
}

func (s *sizes) add(f *model.Frontend, sign int) {
	if f == nil {
		return
	}
	n := 0
	if f.Internal.Verdict == model.Forward {
		n = 1
		if f.Key.IsNodePort() {
			n = s.nodePorts[f.Key.Address.Is4()]
		}
	}
	if f.External.Verdict == model.Forward && f.ExternalDiffers() {
		n++
	}
	s.endpoints[f.Service] = max(s.endpoints[f.Service], endpointsOf(f))
	if s.servers[f.Service] += sign * n; s.servers[f.Service] == 0 {
		delete(s.servers, f.Service)
		delete(s.endpoints, f.Service)
	}
}

func endpointsOf(f *model.Frontend) int {
	return max(len(f.Internal.Endpoints), len(f.External.Endpoints))
}

// change counts changes. It returns the Services whose virtual servers use another number
// of endpoints than before. Services with so few that all are used are not among them: the
// caller looks through all frontends for each.
func (s *sizes) change(changes []model.Change) map[model.ServiceID]struct{} {
	before := map[model.ServiceID]int{}
	for _, c := range changes {
		for _, f := range []*model.Frontend{c.Old, c.New} {
			if f != nil {
				before[f.Service] = s.each(f.Service)
			}
		}
	}
	for _, c := range changes {
		s.add(c.Old, -1)
		s.add(c.New, 1)
	}
	out := map[model.ServiceID]struct{}{}
	for id, each := range before {
		if now := s.each(id); now != each && s.endpoints[id] > min(now, each) {
			out[id] = struct{}{}
		}
	}
	return out
}

// each is how many endpoints a virtual server of a Service uses.
func (s *sizes) each(id model.ServiceID) int {
	return model.EndpointsEach(cmp.Or(s.most, maxReals), s.servers[id])
}

// exceeds says whether a frontend has more endpoints than it uses.
func (s *sizes) exceeds(f *model.Frontend) bool {
	return endpointsOf(f) > s.each(f.Service)
}

// subsets are the endpoints that are used of long lists. The frontends of a port share one.
type subsets map[list][]model.Endpoint

type list struct {
	first  *model.Endpoint
	length int
}

// of returns those of a backend's endpoints that are used.
func (u subsets) of(s *sizes, id model.ServiceID, all []model.Endpoint) []model.Endpoint {
	each := s.each(id)
	if len(all) <= each {
		return all
	}
	key := list{&all[0], len(all)}
	used, known := u[key]
	if !known {
		used = model.Subset(all, each, s.seed)
		u[key] = used
	}
	return used
}
