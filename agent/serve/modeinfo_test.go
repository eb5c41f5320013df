// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/modes"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestModeInfo shows some snapshots one after the other: only the last one counts.
func TestModeInfo(t *testing.T) {
	in := func(mode v1alpha1.ProxyMode, scheduler string, limitations ...dataplane.Reason) report.Snapshot {
		s := good()
		s.Programmed.Mode = mode
		if scheduler != "" {
			s.Programmed.Node.Spec.IPVS = &v1alpha1.IPVSOptions{Scheduler: scheduler}
		}
		s.Capabilities = []v1alpha1.ModeCapability{{Mode: v1alpha1.ModeNFTables}, {Mode: v1alpha1.ModeIPTables, Variant: "nft 1.8.9"}}
		for _, reason := range limitations {
			s.Limitations = append(s.Limitations, dataplane.Limitation{Reason: reason})
		}
		return s
	}
	first := good()
	first.Programmed = nil
	unknown := in(v1alpha1.ModeIPVS, "")
	unknown.Programmed.Node = nil
	for name, c := range map[string]struct {
		snapshots []report.Snapshot
		want      map[string]string
	}{
		"nothing is programmed": {[]report.Snapshot{first}, map[string]string{}},
		"no variant":            {[]report.Snapshot{in(v1alpha1.ModeNFTables, "")}, map[string]string{"mode_info NFTables  ": "1"}},
		"a variant":             {[]report.Snapshot{in(v1alpha1.ModeIPTables, "")}, map[string]string{"mode_info IPTables  nft 1.8.9": "1"}},
		"the default scheduler": {[]report.Snapshot{in(v1alpha1.ModeIPVS, "")}, map[string]string{"mode_info IPVS rr ": "1"}},
		"a scheduler":           {[]report.Snapshot{in(v1alpha1.ModeIPVS, "mh")}, map[string]string{"mode_info IPVS mh ": "1"}},
		"no choice of one":      {[]report.Snapshot{in(v1alpha1.ModeNFTables, "mh")}, map[string]string{"mode_info NFTables  ": "1"}},
		"rules are unknown":     {[]report.Snapshot{unknown}, map[string]string{"mode_info IPVS  ": "1"}},
		"limitations": {[]report.Snapshot{in(v1alpha1.ModeNFTables, "", "IPv6", "")}, map[string]string{"mode_info NFTables  ": "1",
			"limitations NFTables IPv6": "1", "limitations NFTables Unsupported": "1"}},
		"another mode": {[]report.Snapshot{in(v1alpha1.ModeNFTables, "", "IPv6", "Endpoints"), in(v1alpha1.ModeIPVS, "sh", "IPv6")}, map[string]string{
			"mode_info IPVS sh ": "1", "limitations IPVS IPv6": "1"}},
		"nothing any more": {[]report.Snapshot{in(v1alpha1.ModeNFTables, "", "IPv6"), first}, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMetrics()
			m.AddModes(modes.All())
			for _, s := range c.snapshots {
				m.observeMode(s)
			}
			if diff := cmp.Diff(c.want, samples(t, m.Registry)); diff != "" {
				t.Errorf("metrics (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConntrackStats(t *testing.T) {
	for name, c := range map[string]struct {
		stats conntrack.Stats
		err   error
		want  map[string]string
	}{
		"no answer": {conntrack.Stats{}, errors.New("no such module"), map[string]string{}},
		"all": {conntrack.Stats{Entries: 1, Limit: 2, InsertFailed: 3, Dropped: 4, EarlyDropped: 5}, nil, map[string]string{"conntrack_entries": "1",
			"conntrack_limit": "2", "conntrack_insert_failures_total": "3", "conntrack_drops_total": "4", "conntrack_early_drops_total": "5"}},
		"an old kernel": {conntrack.Stats{Entries: 1}, nil, map[string]string{"conntrack_entries": "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMetrics()
			m.WatchConntrack(func(context.Context) (conntrack.Stats, error) { return c.stats, c.err })
			if diff := cmp.Diff(c.want, samples(t, m.Registry)); diff != "" {
				t.Errorf("metrics (-want +got):\n%s", diff)
			}
		})
	}
}
