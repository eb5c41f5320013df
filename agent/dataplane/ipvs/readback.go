// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/nattable"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// A read-back lists all virtual servers, and then the real servers of each: IPVS has no
// other way. With many virtual servers that takes a second, so they are read in parts,
// spread over the period. The period is extended if reading would take more than one part
// in readShare of it.
const (
	partSize  = 1000
	maxParts  = 5
	readShare = 20

	// realsPerCall is how many real servers take as long to read as the call itself.
	realsPerCall = 10
)

// parts returns the number of parts of a read-back.
func (s *servers) parts() int { return min(maxParts, 1+len(s.byKey)/partSize) }

// interval returns the time from one part, which took that long, to the next.
func (s *servers) interval(period, took time.Duration) time.Duration {
	return max(period/time.Duration(s.parts()), readShare*took)
}

// look starts a read-back if none is in progress, and reads the real servers of its next
// keys, at most size, and fewer if they have very many or if reading ends. It returns the
// number of differences found.
func (s *servers) look(reading context.Context, ours func(virtualServer) bool, size int) (int, error) {
	found := 0
	if len(s.unread) == 0 && reading.Err() == nil {
		n, err := s.readServers(ours)
		if err != nil {
			return 0, err
		}
		found += n
	}
	for size > 0 && len(s.unread) > 0 && reading.Err() == nil {
		key := s.unread[0]
		n, err := s.readReals(key)
		if err != nil {
			return 0, err
		}
		s.unread = s.unread[1:]
		found += n
		size--
		if h := s.byKey[key]; h != nil {
			size -= len(h.reals) / realsPerCall
		}
	}
	return found, nil
}

// readServers reads all virtual servers, and the real servers of new ones.
func (s *servers) readServers(ours func(virtualServer) bool) (found int, err error) {
	list, err := s.list()
	if err != nil {
		return 0, err
	}
	there := make(map[serverKey]struct{}, len(list))
	for _, v := range list {
		if !ours(v) {
			continue
		}
		there[v.key] = struct{}{}
		if h := s.byKey[v.key]; h != nil {
			if h.server != v.server {
				h.server = v.server
				found++
			}
			s.unread = append(s.unread, v.key)
			continue
		}
		s.byKey[v.key] = &held{server: v.server, udp: v.key.Protocol == model.UDP}
		n, err := s.readReals(v.key)
		if err != nil {
			delete(s.byKey, v.key)
			return 0, err
		}
		found += 1 + n
	}
	for key, h := range s.byKey {
		if _, ok := there[key]; !ok {
			found += 1 + len(h.reals)
			delete(s.byKey, key)
			s.note(key)
		}
	}
	return found, nil
}

// list returns all virtual servers that are known and exist, and others. A known one that
// the kernel's list does not have need not be gone.
func (s *servers) list() ([]virtualServer, error) {
	list, err := s.kernel.servers()
	if err != nil {
		return nil, err
	}
	there := make(map[serverKey]struct{}, len(list))
	for _, v := range list {
		there[v.key] = struct{}{}
	}
	for key := range s.byKey {
		if _, ok := there[key]; ok {
			continue
		}
		switch v, exists, err := s.kernel.server(key); {
		case err != nil:
			return nil, err
		case exists:
			list = append(list, v)
		}
	}
	return list, nil
}

// readReals reads the real servers of a known virtual server.
func (s *servers) readReals(key serverKey) (found int, err error) {
	h := s.byKey[key]
	if h == nil {
		return 0, nil // deleted since it was listed
	}
	list, err := s.kernel.realServers(key)
	if err != nil {
		return 0, err
	}
	now := make([]heldReal, 0, len(list))
	for _, r := range list {
		is := heldReal{endpoint: r.endpoint, weight: r.weight, since: s.now()}
		i, known := h.find(r.endpoint)
		if !known || h.reals[i].weight != r.weight {
			found++
		} else {
			is.since = h.reals[i].since
		}
		now = append(now, is)
	}
	slices.SortFunc(now, func(a, b heldReal) int { return a.endpoint.Compare(b.endpoint) })
	h.reals, now = now, h.reals
	for _, was := range now {
		if _, ok := h.find(was.endpoint); !ok {
			found++
		}
	}
	s.note(key)
	return found, nil
}

// readPart reads the next part of IPVS, if it is due. It returns how many objects others
// have changed, and whether it was interrupted: then the rest of the part is due.
func (d *Dataplane) readPart(reading context.Context, r *serverRules, c change, planned nattable.Found) (found int, interrupted bool, err error) {
	if d.clock.Since(d.lastRead) < d.servers.interval(r.settings.ReadBack, d.readTime) {
		return 0, false, nil
	}
	began := d.clock.Now()
	size := (len(d.servers.byKey) + d.servers.parts() - 1) / d.servers.parts()
	found, err = d.servers.look(reading, d.owned(r, c, planned), size)
	if err != nil || reading.Err() != nil {
		return found, true, err
	}
	d.lastRead, d.readTime = d.clock.Now(), d.clock.Since(began)
	return found, false, nil
}

// readAll reads all of IPVS. It returns how many objects others have changed. How long it
// takes says nothing about a part.
func (d *Dataplane) readAll(r *serverRules, c change, planned nattable.Found) (found int, err error) {
	d.servers.unread = nil
	if found, err = d.servers.look(context.Background(), d.owned(r, c, planned), math.MaxInt); err != nil {
		return 0, err
	}
	for key, mark := range planned.Removed {
		if h := d.servers.byKey[onMark(model.FamilyOf(key.Address), mark)]; h != nil {
			h.vip = key.Address
		}
	}
	d.lastRead = d.clock.Now()
	if !d.adopted || d.inherits { // what is new to us is no change by others
		found, d.adopted, d.inherits = 0, true, false
	}
	return found, nil
}

// owned returns which virtual servers are ours: those that we know or want, those that are marked so, those on our
// device, and those in our table, perhaps for addresses that the node had when another
// agent wrote it; of a kube-proxy that is gone, node ports on any address of the node.
func (d *Dataplane) owned(r *serverRules, c change, planned nattable.Found) func(virtualServer) bool {
	known, frontends := d.servers.byKey, d.filter.Desired().Frontends
	return func(v virtualServer) bool {
		k := v.key
		if k.mark != 0 {
			return nattable.IsOurMark(k.mark)
		}
		_, bound := d.vips.bound[k.Address]
		_, removed := planned.Removed[k.FrontendKey]
		if c.wanted[k] != nil || known[k] != nil || v.flags&flagOurs != 0 || removed || bound && !r.settings.excluded(k.Address) {
			return true
		}
		nodePort := k.FrontendKey.NodePort()
		_, removed = planned.Removed[nodePort]
		_, had := planned.NodePorts[k.Address]
		if d.inherits && !had {
			_, had = d.vips.elsewhere[k.Address]
		}
		return had && (removed || frontends[nodePort] != nil)
	}
}
