// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// The longer a read-back takes, the rarer it is.
func TestResync(t *testing.T) {
	for name, c := range map[string]struct {
		looks             []dataplane.Result
		regular           time.Duration
		afterNotification time.Duration
	}{
		"nothing is programmed":    {[]dataplane.Result{{}}, time.Minute, 200 * time.Millisecond},
		"small":                    {[]dataplane.Result{{Reading: 10 * time.Millisecond}}, time.Minute, 200 * time.Millisecond},
		"a limit":                  {[]dataplane.Result{{Reading: 50 * time.Millisecond}}, time.Minute, 200 * time.Millisecond},
		"large":                    {[]dataplane.Result{{Reading: 3 * time.Second}}, 150 * time.Second, 12 * time.Second},
		"very large":               {[]dataplane.Result{{Reading: 12 * time.Second}}, 10 * time.Minute, 48 * time.Second},
		"no external change since": {[]dataplane.Result{{Reading: 12 * time.Second}, {}}, 5 * time.Minute, 24 * time.Second},
		"interrupted":              {[]dataplane.Result{{Reading: 3 * time.Second}, {Reading: time.Second, Interrupted: true}}, 150 * time.Second, 12 * time.Second},
		"interrupted before": {[]dataplane.Result{
			{Reading: time.Second, Interrupted: true}, {Interrupted: true}, {Reading: 2 * time.Second}}, 150 * time.Second, 12 * time.Second},
		"interrupted long before": {[]dataplane.Result{
			{Reading: 2 * time.Second, Interrupted: true}, {Reading: 2 * time.Second}, {Reading: 2 * time.Second}}, 100 * time.Second, 8 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
			p := resync{clock: clk}
			if wait := p.afterNotification(); wait > 0 {
				t.Errorf("before the first look a notification waits for %v", wait)
			}
			for _, r := range c.looks {
				p.looked(r)
			}
			if got := p.regular(); got != c.regular {
				t.Errorf("the next look is after %v, want %v", got, c.regular)
			}
			clk.Step(time.Millisecond)
			if got := p.afterNotification(); got != c.afterNotification-time.Millisecond {
				t.Errorf("a notification waits for %v, want %v", got, c.afterNotification-time.Millisecond)
			}
			clk.Step(time.Hour)
			if got := p.afterNotification(); got > 0 {
				t.Errorf("an hour later a notification waits for %v", got)
			}
		})
	}
}

// While notifications wait for one read-back, our own changes are programmed.
func TestChangesDoNotWaitForNotifications(t *testing.T) {
	h := newHarness(t)
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	h.clock, h.resync.clock, h.kernel.Reading = clk, clk, 3*time.Second
	a, b := agenttest.Web("10.96.0.1", "10.244.1.2"), agenttest.Web("10.96.0.1", "10.244.1.3")
	h.fromAPI(a)
	h.start(t)
	// The clock's waiters are the timer of the regular look and the one for the notifications.
	await(t, "watching", func() bool { return h.kernel.Watchers() == 1 && h.kernel.Count(fake.Sync) == 1 })
	h.kernel.Drift(func(kernel *model.Desired) { clear(kernel.Frontends) })
	await(t, "waiting with the notification", func() bool { return clk.Waiters() == 2 })
	h.store.SetSlice(agenttest.WebName, b, time.Time{})
	await(t, "programmed", func() bool { return h.kernel.Count(fake.Apply) == 1 })
	h.kernel.Drift(func(kernel *model.Desired) { clear(kernel.Frontends) })
	if n := h.kernel.Count(fake.Sync); n != 1 {
		t.Errorf("%d looks at once", n)
	}
	await(t, "waiting with these, too", func() bool { return len(h.notified) == 0 })
	clk.Step(12 * time.Second)
	await(t, "looked at", func() bool { return h.kernel.Count(fake.Sync) == 2 })
	h.wantKernel(t, b)
}
