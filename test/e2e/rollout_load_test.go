// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/robustness/traffic"
)

// TestRolloutsUnderLoad changes the mode of the nodes in stages while they open a thousand connections a
// second: none fails, and a hundred open ones go on. Those end where docs/semantics.md says so:
// to Userspace and away from it.
func TestRolloutsUnderLoad(t *testing.T) {
	if !*rolloutsToo {
		t.Skip("takes all processors: make test-e2e-rollout")
	}
	svc := newEcho(t, newNamespace(t), 6)
	t.Cleanup(func() { resetPolicy(t) })
	startWith(t, v1alpha1.ModeNFTables)
	changePolicy(t.Context(), t, `"rollout": {"strategy": "Staged", "maxUnavailable": 1, "stages": [{"name": "canary", "nodes": 1, "soakSeconds": 5}]}`)

	// The rate is a bound: about a thousand connections a second come of it.
	load := traffic.Load{Rate: 1250, Streams: 34, Targets: []traffic.Target{clusterIP(svc, 0, 0)}}
	for _, node := range labNodes {
		load.Sources = append(load.Sources, source(node))
	}
	g := traffic.Start(load)
	t.Cleanup(g.Stop)
	before := v1alpha1.ModeNFTables
	for _, mode := range []v1alpha1.ProxyMode{v1alpha1.ModeIPTables, v1alpha1.ModeNFTables, v1alpha1.ModeUserspace, v1alpha1.ModeNFTables} {
		leg := fmt.Sprintf("from %s to %s", before, mode)
		began := time.Now()
		changePolicy(t.Context(), t, fmt.Sprintf(`"mode": %q`, mode))
		waitRollout(t, v1alpha1.RolloutSucceeded, mode)
		checkLeg(t, leg, began, g.Take(), before == v1alpha1.ModeUserspace || mode == v1alpha1.ModeUserspace)
		before = mode
	}
	g.Stop()
	checkLeg(t, "in the end", time.Now(), g.Take(), true)
}

// checkLeg checks that no connection has failed, and no stream unless they end.
func checkLeg(t *testing.T, leg string, began time.Time, records []traffic.Record, streamsEnd bool) {
	t.Helper()
	counts, failed := map[traffic.Kind]int{}, map[traffic.Kind][]traffic.Record{}
	for _, r := range records {
		counts[r.Kind]++
		if r.Err != nil {
			failed[r.Kind] = append(failed[r.Kind], r)
		}
	}
	t.Logf("%s: %d connections in %v, %d failed; %d streams ended, %d of them failed", leg, counts[traffic.Connection],
		time.Since(began).Round(time.Second), len(failed[traffic.Connection]), counts[traffic.Stream], len(failed[traffic.Stream]))
	for kind, records := range failed {
		if kind == traffic.Stream && streamsEnd {
			continue
		}
		first := records[0]
		t.Errorf("%s: %d of kind %s failed, the first: from %s, %v after the leg began, for %v: %v", leg, len(records), kind, first.From,
			first.Start.Sub(began).Round(time.Millisecond), first.End.Sub(first.Start).Round(time.Millisecond), first.Err)
	}
}
