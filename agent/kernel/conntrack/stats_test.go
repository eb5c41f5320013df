// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/internal/conntracktest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// TestStats compares the counters with what the namespace has.
func TestStats(t *testing.T) {
	s := conntracktest.NewSpace(t)
	s.Translate("ip daddr 10.96.0.10 udp dport 53 dnat ip to 10.1.0.1:5353")
	table := open(t, s)
	read := func() Stats {
		t.Helper()
		stats, err := table.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return stats
	}
	before := read()
	var limit string
	s.Do(func() error {
		text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
		limit = strings.TrimSpace(string(text))
		return err
	})
	if got := strconv.Itoa(int(before.Limit)); got != limit {
		t.Errorf("limit %s, want %s", got, limit)
	}
	const flows = 20
	for range flows {
		s.Say(s.Dial("udp", "10.96.0.10:53"))
	}
	if after := read(); after.Entries < before.Entries+flows {
		t.Errorf("%+v after %d flows, before %+v", after, flows, before)
	}
	// The table is used as before, also after a reading was cancelled.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := table.Stats(ctx); err == nil {
		t.Error("no error of a cancelled context")
	}
	if entries, _ := dump(t, table, Filter{Protocol: 17}); len(entries) < flows {
		t.Errorf("%d entries are listed", len(entries))
	}
}

// TestStatsOfFailures adds the counters of two processors. The test cannot make the kernel count: a
// namespace has no limit of its own, and a collision is a matter of luck.
func TestStatsOfFailures(t *testing.T) {
	processor := func(insertFailed, drop, earlyDrop uint32) []byte {
		var w netlink.Buffer
		for attr, n := range []uint32{3: 100, 8: 200, 9: insertFailed, 10: drop, 11: earlyDrop, 12: 300, 15: 400} {
			w.Number(attr, n)
		}
		return w.B
	}
	got := Stats{Entries: 1, Limit: 2}
	got.add(processor(3, 5, 7))
	got.add(processor(1<<32-1, 10, 20))
	if diff := cmp.Diff(Stats{Entries: 1, Limit: 2, InsertFailed: 1<<32 + 2, Dropped: 15, EarlyDropped: 27}, got); diff != "" {
		t.Error(diff)
	}
}
