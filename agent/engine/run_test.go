// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestRunRepairs has the kernel differ from what is desired under a loop that runs, and that nothing else wakes.
func TestRunRepairs(t *testing.T) {
	lose := func(kernel *model.Desired) { clear(kernel.Frontends) }
	for name, tc := range map[string]struct {
		nextLook time.Duration // of the mode
		happens  func(h *harness, endpoint string)
		within   time.Duration
	}{
		"a change fails": {0, func(h *harness, endpoint string) {
			h.kernel.Fail(fake.Apply, errRejected)
			fail(h.kernel, fake.Sync, 4)
			h.store.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.1", endpoint), time.Time{})
		}, 5 * time.Second},
		"it notifies":                  {0, func(h *harness, _ string) { h.kernel.Drift(lose) }, time.Millisecond},
		"it does not":                  {0, func(h *harness, _ string) { h.kernel.Clear() }, readBackInterval},
		"the mode asks for a look":     {10 * time.Second, func(h *harness, _ string) { h.kernel.Clear() }, 10 * time.Second},
		"it notifies right after that": {0, func(h *harness, _ string) { h.kernel.Drift(lose); synctest.Wait(); h.kernel.Drift(lose) }, notifiedPause},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t)
				h.kernel.NextLook = tc.nextLook
				h.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
				stop := h.start(t)
				for round := range 3 { // also after an earlier repair
					time.Sleep(time.Second) // more than notifiedPause
					tc.happens(h, fmt.Sprint("10.244.1.", 9+round))
					time.Sleep(tc.within)
					synctest.Wait()
					if diff := model.Diff(h.kernel.Kernel(), h.table.Desired()); !diff.Empty() {
						t.Errorf("round %d: after %s the kernel differs: %+v", round, tc.within, diff)
					}
				}
				stop()
				if h.kernel.Watchers() != 0 || h.kernel.Count(fake.Close) != 1 {
					t.Errorf("%d watchers, closed %d times", h.kernel.Watchers(), h.kernel.Count(fake.Close))
				}
			})
		})
	}
}

// TestRunCloses ends a loop that has a candidate, and a mode before it that waits for its connections.
func TestRunCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		ipvs, iptables := fake.New(), fake.New()
		h.add(fake.Mode(ipvsMode, dataplane.LoadBalancer, ipvs))
		h.add(fake.Mode(iptablesMode, dataplane.NAT, iptables))
		h.kernel.Wait = time.Hour
		fail(iptables, fake.Sync, 2)
		h.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
		stop := h.start(t)
		time.Sleep(time.Second)
		h.store.SetNode(assigned(2, "r-2", 2, ipvsMode))
		time.Sleep(time.Second)
		h.store.SetNode(assigned(3, "r-3", 3, iptablesMode))
		synctest.Wait()
		if h.candidate == nil || len(h.previous) != 1 {
			t.Fatalf("candidate %v, previous %v", h.candidate, h.previous)
		}
		before := map[*fake.Dataplane]int{}
		all := []*fake.Dataplane{h.kernel, ipvs, iptables}
		for _, d := range all {
			before[d] = d.Count(fake.Close)
		}
		stop()
		synctest.Wait()
		for i, d := range all {
			if closed := d.Count(fake.Close) - before[d]; closed != 1 || d.Watchers() != 0 {
				t.Errorf("mode %d: closed %d times, %d watchers", i, closed, d.Watchers())
			}
		}
	})
}
