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

// held is the known state of a virtual server in the kernel.
type held struct {
	server
	reals []heldReal // sorted by endpoint

	// For a firewall mark only the caller knows these. A new agent does not, once the
	// virtual server is unwanted.
	udp bool
	vip netip.Addr
}

// heldReal is the known state of a real server in the kernel.
type heldReal struct {
	endpoint model.Endpoint
	weight   int

	// since is when its weight became 0, as far as known.
	since time.Time
}

func (h *held) find(e model.Endpoint) (int, bool) {
	return slices.BinarySearchFunc(h.reals, e, func(r heldReal, e model.Endpoint) int { return r.endpoint.Compare(e) })
}

func (h *held) drains() bool {
	return slices.ContainsFunc(h.reals, func(r heldReal) bool { return r.weight == 0 })
}

// servers holds the known state of the kernel's virtual servers, and changes them. After
// an error its state is still that of the kernel.
type servers struct {
	kernel kernel
	now    func() time.Time

	byKey    map[serverKey]*held
	draining map[serverKey]struct{} // with real servers of weight 0
	refused  map[serverKey]error    // real servers that the kernel rejects
	unread   []serverKey            // not reached by the read-back yet
	ops      int                    // changes of the kernel
}

func newServers(k kernel, now func() time.Time) *servers {
	return &servers{kernel: k, now: now, byKey: map[serverKey]*held{}, draining: map[serverKey]struct{}{},
		refused: map[serverKey]error{}}
}

// note updates draining for a virtual server.
func (s *servers) note(key serverKey) {
	if h := s.byKey[key]; h != nil && h.drains() {
		s.draining[key] = struct{}{}
	} else {
		delete(s.draining, key)
	}
}

// grow adds a virtual server with all wanted real servers. It removes nothing. Real
// servers with an address that the kernel rejects, such as a broadcast address of the
// node, are recorded: they are in an EndpointSlice of one Service, and must not stop other
// Services.
func (s *servers) grow(key serverKey, want wantedServer) error {
	h := s.byKey[key]
	if h == nil {
		var err error
		if h, err = s.add(key, want); err != nil {
			return err
		}
	}
	h.udp, h.vip = want.udp, want.vip
	defer s.note(key)
	delete(s.refused, key)
	var errs []error
	for _, e := range want.endpoints {
		err := s.addReal(key, h, e)
		if errors.Is(err, unix.EINVAL) {
			s.refused[key] = err
		} else {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// add adds a virtual server that is not known. If it exists, because a list did not have it,
// it is read.
func (s *servers) add(key serverKey, want wantedServer) (*held, error) {
	h := &held{server: want.server, reals: make([]heldReal, 0, len(want.endpoints))}
	err := s.do(s.kernel.addServer(key, want.server))
	if !errors.Is(err, unix.EEXIST) {
		if err == nil {
			s.byKey[key] = h
		}
		return h, err
	}
	v, exists, got := s.kernel.server(key)
	if got != nil || !exists {
		return nil, errors.Join(err, got)
	}
	h.server, s.byKey[key] = v.server, h
	if _, err := s.readReals(key); err != nil {
		delete(s.byKey, key)
		return nil, err
	}
	return h, nil
}

func (s *servers) addReal(key serverKey, h *held, e model.Endpoint) error {
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

// busy says whether a virtual server has open connections.
func (s *servers) busy(key serverKey) (bool, error) {
	if s.byKey[key] == nil {
		return false, nil
	}
	reals, err := s.kernel.realServers(key)
	return slices.ContainsFunc(reals, func(r realServer) bool { return r.active > 0 }), err
}

// do counts successful operations.
func (s *servers) do(err error) error {
	if err == nil {
		s.ops++
	}
	return err
}

func contains(sorted []model.Endpoint, e model.Endpoint) bool {
	_, ok := slices.BinarySearchFunc(sorted, e, model.Endpoint.Compare)
	return ok
}
