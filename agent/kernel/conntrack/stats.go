// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// Messages and attributes of linux/netfilter/nfnetlink_conntrack.h that package nl does not define.
const (
	getStatsCPU = 4
	getStats    = 5

	ctaStatsInsertFailed = 9
	ctaStatsDrop         = 10
	ctaStatsEarlyDrop    = 11

	ctaStatsGlobalEntries    = 1
	ctaStatsGlobalMaxEntries = 2 // since Linux 4.18
)

// statsTimeout is how long the kernel may take for its counters.
const statsTimeout = time.Second

// Stats is how full the connection tracking of a network namespace is, and what has failed there.
type Stats struct {
	// Entries is how many there are, Limit how many there may be; of all network namespaces
	// together, if this is not the first one. Limit is 0 if the kernel does not say it.
	Entries, Limit uint32

	// Counters since the namespace was made. They wrap at 2^32.
	//
	// InsertFailed: a new entry collided with another one, and its packet was dropped. Dropped:
	// a packet was dropped because the table was full, or no memory was free. EarlyDropped: an
	// entry made room for a new one.
	InsertFailed, Dropped, EarlyDropped uint64
}

// Stats reads the kernel's counters.
func (t *Table) Stats(ctx context.Context) (Stats, error) {
	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	var s Stats
	conn, err := t.open(&t.reading)
	if err == nil {
		err = conn.Do(ctx, statsRequest(getStats, 0), func(m netlink.Message) bool {
			attrs, _ := m.Attrs()
			s.Entries = netlink.Number(netlink.Find(attrs, ctaStatsGlobalEntries))
			s.Limit = netlink.Number(netlink.Find(attrs, ctaStatsGlobalMaxEntries))
			return true
		})
	}
	if err == nil {
		all := s
		err = conn.Dump(ctx, statsRequest(getStatsCPU, unix.NLM_F_DUMP), func() { s = all }, func(m netlink.Message) error {
			attrs, _ := m.Attrs()
			s.add(attrs)
			return nil
		})
	}
	if err != nil {
		closeConn(&t.reading)
		return Stats{}, fmt.Errorf("read the counters of connection tracking: %w", err)
	}
	return s, nil
}

// add adds the counters of a processor.
func (s *Stats) add(attrs []byte) {
	counter := func(attr int) uint64 { return uint64(netlink.Number(netlink.Find(attrs, attr))) }
	s.InsertFailed += counter(ctaStatsInsertFailed)
	s.Dropped += counter(ctaStatsDrop)
	s.EarlyDropped += counter(ctaStatsEarlyDrop)
}

func statsRequest(kind, flags int) []byte {
	w := begin(kind, flags, false)
	w.End(0)
	return w.B
}
