// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/rules"
)

// held is a virtual server as we know the kernel to hold it.
type held struct {
	server
	reals []heldReal // sorted by endpoint
	udp   bool       // of a firewall mark only the caller knows
}

// heldReal is a real server as we know the kernel to hold it.
type heldReal struct {
	endpoint rules.Endpoint
	weight   int

	// since is when its weight was found or made 0.
	since time.Time
}

func (h *held) find(e rules.Endpoint) (int, bool) {
	return slices.BinarySearchFunc(h.reals, e, func(r heldReal, e rules.Endpoint) int { return r.endpoint.Compare(e) })
}

func (h *held) drains() bool {
	return slices.ContainsFunc(h.reals, func(r heldReal) bool { return r.weight == 0 })
}

// servers is our knowledge of the kernel's virtual servers, and changes them.
// After an error it knows as much as the kernel has really done.
type servers struct {
	kernel kernel
	now    func() time.Time

	byKey    map[serverKey]*held
	draining map[serverKey]struct{} // those that have real servers of weight 0
	ops      int                    // what has been done to the kernel
}

func newServers(k kernel, now func() time.Time) *servers {
	return &servers{kernel: k, now: now, byKey: map[serverKey]*held{}, draining: map[serverKey]struct{}{}}
}

// read forgets everything and takes over what the kernel holds of ours.
func (s *servers) read(ours func(serverKey) bool) error {
	list, err := s.kernel.servers()
	if err != nil {
		return err
	}
	before := s.byKey
	s.byKey, s.draining = make(map[serverKey]*held, len(list)), map[serverKey]struct{}{}
	for _, v := range list {
		if !ours(v.key) {
			continue
		}
		reals, err := s.kernel.realServers(v.key)
		if err != nil {
			return err
		}
		h := &held{server: v.server, reals: make([]heldReal, 0, len(reals)), udp: v.key.Protocol == rules.UDP}
		for _, r := range reals {
			h.reals = append(h.reals, heldReal{endpoint: r.endpoint, weight: r.weight, since: s.sinceOf(before[v.key], r.endpoint)})
		}
		slices.SortFunc(h.reals, func(a, b heldReal) int { return a.endpoint.Compare(b.endpoint) })
		s.byKey[v.key] = h
		s.note(v.key)
	}
	return nil
}

// sinceOf is since when a real server drains, as far as we know.
func (s *servers) sinceOf(before *held, e rules.Endpoint) time.Time {
	if before != nil {
		if i, ok := before.find(e); ok && before.reals[i].weight == 0 {
			return before.reals[i].since
		}
	}
	return s.now()
}

// note keeps draining true of a virtual server.
func (s *servers) note(key serverKey) {
	if h := s.byKey[key]; h != nil && h.drains() {
		s.draining[key] = struct{}{}
	} else {
		delete(s.draining, key)
	}
}

// grow makes a virtual server be there with all wanted real servers. It takes
// nothing away.
func (s *servers) grow(key serverKey, want wantedServer) error {
	h := s.byKey[key]
	if h == nil {
		if err := s.do(s.kernel.addServer(key, want.server)); err != nil {
			return err
		}
		h = &held{server: want.server, reals: make([]heldReal, 0, len(want.endpoints))}
		s.byKey[key] = h
	}
	h.udp = want.udp
	defer s.note(key)
	var errs []error
	for _, e := range want.endpoints {
		errs = append(errs, s.addReal(key, h, e))
	}
	return errors.Join(errs...)
}

func (s *servers) addReal(key serverKey, h *held, e rules.Endpoint) error {
	i, there := h.find(e)
	if there && h.reals[i].weight == 1 {
		return nil
	}
	r := realServer{endpoint: e, weight: 1}
	if there {
		if err := s.do(s.kernel.setRealServer(key, r)); err != nil {
			return err
		}
		h.reals[i].weight = 1
		return nil
	}
	if err := s.do(s.kernel.addRealServer(key, r)); err != nil {
		return err
	}
	h.reals = slices.Insert(h.reals, i, heldReal{endpoint: e, weight: 1})
	return nil
}

// shrink takes the real servers that are not wanted out of a virtual server, or
// the virtual server itself (want nil). Those with connections stay with weight 0
// until they have none or have had the time of drain, see drain.
func (s *servers) shrink(key serverKey, want *wantedServer, drain time.Duration) error {
	h := s.byKey[key]
	if h == nil {
		return nil
	}
	defer s.note(key)
	leaving := false
	var errs []error
	for i := range h.reals {
		r := &h.reals[i]
		if want != nil && contains(want.endpoints, r.endpoint) {
			continue
		}
		leaving = true
		if r.weight == 0 {
			continue
		}
		if err := s.do(s.kernel.setRealServer(key, realServer{endpoint: r.endpoint})); err != nil {
			errs = append(errs, err)
			continue
		}
		r.weight, r.since = 0, s.now()
	}
	if leaving || want == nil {
		errs = append(errs, s.drain(key, want, drain))
	}
	return errors.Join(append(errs, s.reschedule(key, want))...)
}

// drain deletes the real servers of weight 0 that are idle or out of time, and a
// virtual server that is not wanted when it has none left. UDP flows stay only
// with those that still serve, and then for as long as they do.
func (s *servers) drain(key serverKey, want *wantedServer, limit time.Duration) error {
	h := s.byKey[key]
	if h == nil {
		return nil
	}
	defer s.note(key)
	var errs []error
	if h.drains() {
		list, err := s.kernel.realServers(key)
		if err != nil {
			return err
		}
		idle := map[rules.Endpoint]bool{}
		for _, r := range list {
			// Of a Service that is gone, what is being closed need not be waited for:
			// it would keep the address for minutes.
			idle[r.endpoint] = r.idle() || want == nil && r.active == 0
		}
		h.reals = slices.DeleteFunc(h.reals, func(r heldReal) bool {
			if r.weight > 0 || !idle[r.endpoint] && !h.over(r, want, s.now().Sub(r.since) >= limit) {
				return false
			}
			err := s.do(s.kernel.deleteRealServer(key, r.endpoint))
			if errors.Is(err, unix.ENOENT) {
				err = nil // somebody was faster
			}
			errs = append(errs, err)
			return err == nil
		})
	}
	if want == nil && len(h.reals) == 0 {
		err := s.do(s.kernel.deleteServer(key))
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return errors.Join(append(errs, err)...)
		}
		delete(s.byKey, key)
	}
	return errors.Join(errs...)
}

// over says whether a real server that is not idle has to go nevertheless.
func (h *held) over(r heldReal, want *wantedServer, late bool) bool {
	if h.udp {
		return want == nil || !contains(want.serving, r.endpoint)
	}
	return late
}

// reschedule gives a wanted virtual server its scheduler and flags, which keeps
// its connections.
func (s *servers) reschedule(key serverKey, want *wantedServer) error {
	h := s.byKey[key]
	if h == nil || want == nil {
		return nil
	}
	now := want.server
	if h.drains() {
		now = now.whileDraining()
	}
	if h.server == now {
		return nil
	}
	if err := s.do(s.kernel.setServer(key, now)); err != nil {
		return err
	}
	h.server = now
	return nil
}

// do counts what has succeeded.
func (s *servers) do(err error) error {
	if err == nil {
		s.ops++
	}
	return err
}

func contains(sorted []rules.Endpoint, e rules.Endpoint) bool {
	_, ok := slices.BinarySearchFunc(sorted, e, rules.Endpoint.Compare)
	return ok
}
