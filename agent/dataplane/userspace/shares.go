// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"errors"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// A Service may hold as many file descriptors as are free, and a client half as many. So a
// Service gets at most half of all, n Services 1/(n+1) each; a client gets at most a third, and
// cannot take all that a Service may hold. A client that holds few always finds some free, and nothing is
// set aside for anyone (dynamic thresholds, known from the queues of switches).

// holder is whom a connection or a session counts for. The families of a Service count as
// one.
type holder struct {
	service model.ServiceID
	source  netip.Addr
}

func newHolder(service model.ServiceID, source netip.Addr) holder {
	service.Family = ""
	return holder{service, source}
}

// Why a connection or a session is refused, and how to prevent it.
var (
	errFull = errors.New("new connections are refused because no file descriptors are free: raise the limit of open files of the agent (RLIMIT_NOFILE; LimitNOFILE= of a systemd unit)")

	// errSource and errService are errShare for a client and for a Service.
	errSource  = errors.New("the client holds half as many file descriptors as are free")
	errService = errors.New("the Service holds as many file descriptors as are free")
	errShare   = errors.New("new connections are refused because their client or Service holds its share of the file descriptors, see the agent's log: let it close idle ones, or raise the limit of open files of the agent (RLIMIT_NOFILE)")
)

// shares are the descriptors that each Service and each source holds.
type shares struct {
	services map[model.ServiceID]int
	sources  map[netip.Addr]int
}

func newShares() shares {
	return shares{services: map[model.ServiceID]int{}, sources: map[netip.Addr]int{}}
}

// allow says whether a holder may take n of the free descriptors. Without any the answer
// is errFull only for those that hold none, because others hold more than are free.
func (s shares) allow(h holder, n, free int) error {
	switch {
	case s.sources[h.source]+n > max(n, free/2):
		return errSource
	case s.services[h.service]+n > max(n, free):
		return errService
	case free < n:
		return errFull
	}
	return nil
}

func (s shares) take(h holder, n int) {
	s.services[h.service] += n
	s.sources[h.source] += n
}

func (s shares) give(h holder, n int) {
	if s.services[h.service] -= n; s.services[h.service] == 0 {
		delete(s.services, h.service)
	}
	if s.sources[h.source] -= n; s.sources[h.source] == 0 {
		delete(s.sources, h.source)
	}
}
