// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// shrink takes the real servers that are not wanted out of a virtual server, or
// the virtual server itself (want nil). Those with connections stay with weight 0
// until they have none or have had the time of drain, see drain.
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
		busy := map[model.Endpoint]bool{}
		for _, r := range list {
			// Of a Service that is gone, what is being closed need not be waited for:
			// it would keep the address for minutes.
			busy[r.endpoint] = !r.idle() && (want != nil || r.active > 0)
		}
		h.reals = slices.DeleteFunc(h.reals, func(r heldReal) bool {
			if r.weight > 0 || busy[r.endpoint] && !h.over(r, want, s.now().Sub(r.since) >= limit) {
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
