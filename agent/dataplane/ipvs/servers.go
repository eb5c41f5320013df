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

// held is a virtual server as we know the kernel to hold it.
type held struct {
	server
	reals []heldReal // sorted by endpoint
	udp   bool       // of a firewall mark only the caller knows
}

// heldReal is a real server as we know the kernel to hold it.
type heldReal struct {
	endpoint model.Endpoint
	weight   int

	// since is when its weight was found or made 0.
	since time.Time
}

func (h *held) find(e model.Endpoint) (int, bool) {
	return slices.BinarySearchFunc(h.reals, e, func(r heldReal, e model.Endpoint) int { return r.endpoint.Compare(e) })
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
	refused  map[serverKey]error    // real servers that the kernel does not take
	unread   []serverKey            // what the read-back has not come to yet
	ops      int                    // what has been done to the kernel
}

func newServers(k kernel, now func() time.Time) *servers {
	return &servers{kernel: k, now: now, byKey: map[serverKey]*held{}, draining: map[serverKey]struct{}{},
		refused: map[serverKey]error{}}
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
// nothing away. Real servers whose address the kernel does not take for one, such
// as a broadcast address of the node, are noted: whoever wrote them into an
// EndpointSlice must not stop other Services.
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

// do counts what has succeeded.
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
