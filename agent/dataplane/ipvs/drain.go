// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// shrink removes unwanted real servers from a virtual server, or the virtual server itself
// (want nil). Real servers with connections stay with weight 0 until they have none or
// their drain time is over, see drain.
func (s *servers) shrink(key serverKey, want *wantedServer, drain time.Duration) error {
	h := s.byKey[key]
	if h == nil {
		return nil
	}
	if want == nil {
		delete(s.refused, key)
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
	return errors.Join(append(errs, s.claim(key, want), s.reschedule(key, want))...)
}

// claim marks a virtual server that waits for its last connections as ours: by then nothing else may show
// that, and a new agent has to delete it.
func (s *servers) claim(key serverKey, want *wantedServer) error {
	h := s.byKey[key]
	if h == nil || want != nil || key.mark != 0 || h.flags&flagOurs != 0 {
		return nil
	}
	now := h.server
	now.flags |= flagOurs
	if err := s.do(s.kernel.setServer(key, now)); err != nil {
		return err
	}
	h.server = now
	return nil
}

// drain deletes the real servers of weight 0 that are idle or out of time, and an unwanted
// virtual server when it has none left. UDP flows stay only with endpoints that still
// serve, and as long as they do.
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
		busy := map[model.Endpoint]bool{}
		for _, r := range list {
			// Connections of a deleted Service that are closing need not be waited for:
			// they would keep the address for minutes.
			busy[r.endpoint] = !r.idle() && (want != nil || r.active > 0)
		}
		h.reals = slices.DeleteFunc(h.reals, func(r heldReal) bool {
			if r.weight > 0 || busy[r.endpoint] && !h.over(r, want, s.now().Sub(r.since) >= limit) {
				return false
			}
			err := s.do(s.kernel.deleteRealServer(key, r.endpoint))
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
				err = nil // others have deleted it already, or its virtual server
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

// drainsOn says whether a virtual server of an address waits for its connections. One with a firewall mark whose
// address is not known may be of each.
func (s *servers) drainsOn(a netip.Addr) bool {
	for key := range s.draining {
		of := key.Address
		if key.mark != 0 {
			of = s.byKey[key].vip
		}
		if of == a || !of.IsValid() && key.family == model.FamilyOf(a) {
			return true
		}
	}
	return false
}

// over says whether a real server that is not idle has to be deleted nevertheless.
func (h *held) over(r heldReal, want *wantedServer, late bool) bool {
	if h.udp {
		return want == nil || !contains(want.serving, r.endpoint)
	}
	return late
}

// reschedule sets the scheduler and flags of a wanted virtual server, which keeps its
// connections.
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
