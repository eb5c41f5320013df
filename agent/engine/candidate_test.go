// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const iptablesMode = v1alpha1.ModeIPTables

var errRejected = errors.New("the kernel says no")

// changing is a loop with three modes, of which NFTables is active, and a fake clock.
type changing struct {
	*harness
	t              *testing.T
	time           *clocktesting.FakeClock
	ipvs, iptables *fake.Dataplane
	generation     int64
}

func newChanging(t *testing.T) *changing {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	c := &changing{harness: newHarnessAt(t, clk), t: t, time: clk, ipvs: fake.New(), iptables: fake.New(), generation: 1}
	c.add(fake.Mode(ipvsMode, dataplane.LoadBalancer, c.ipvs))
	c.add(fake.Mode(iptablesMode, dataplane.NAT, c.iptables))
	return c
}

// ask makes the policy ask for modes.
func (c *changing) ask(modes ...v1alpha1.ProxyMode) {
	c.generation++
	node := testNodeRules(c.generation)
	node.Spec.Mode, node.Spec.FallbackModes = modes[0], modes[1:]
	c.store.SetNode(node)
	c.step(c.t.Context())
}

// endpoint changes the one endpoint of the Service.
func (c *changing) endpoint(i int) *v1alpha1.ServiceRuleSliceSpec {
	spec := agenttest.Web("10.96.0.1", fmt.Sprintf("10.244.1.%d", i))
	c.store.SetSlice(agenttest.WebName, spec, time.Time{})
	return spec
}

// wait passes the time until the loop wants to step, and steps.
func (c *changing) wait() {
	c.t.Helper()
	wait, failed := c.modes.wait(c.demand, c.dp)
	if c.retry > 0 && (!failed || c.retry < wait) {
		wait, failed = c.retry, true
	}
	if !failed {
		c.t.Fatal("nothing is waited for")
	}
	c.time.Step(wait)
	c.step(c.t.Context())
}

func (c *changing) wantActive(mode v1alpha1.ProxyMode, generation int64) {
	c.t.Helper()
	if c.dp == nil || c.dp.Mode() != mode || c.last.Mode() != mode || c.last.Programmed.Node.Generation != generation {
		c.t.Errorf("reports %+v, want %s in generation %d", c.last.Programmed, mode, generation)
	}
}

func fail(d *fake.Dataplane, m fake.Method, times int) {
	for range times {
		d.Fail(m, errRejected)
	}
}

// The active mode follows all changes until the new one has been programmed once, and is
// cleaned up after that.
func TestOldModeFollows(t *testing.T) {
	c := newChanging(t)
	c.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	c.step(t.Context())
	const failures = 3
	fail(c.ipvs, fake.Sync, failures)
	c.ask(ipvsMode)
	for i := range failures {
		c.wantActive(nftablesMode, 1)
		if err := c.last.Problem(report.ModeChangeFailed); !errors.Is(err, errRejected) || !strings.HasPrefix(err.Error(), "IPVS: ") {
			t.Errorf("reports %v", err)
		}
		if c.last.Problem(report.KernelError) != nil || c.last.Problem(report.ModeUnsupported) != nil || c.last.Repairs.Count != 0 {
			t.Errorf("of the active mode it reports %+v, repairs %+v", c.last.Problems, c.last.Repairs)
		}
		applied, tried := c.kernel.Count(fake.Apply), c.ipvs.Count(fake.Sync)
		spec := c.endpoint(10 + i)
		c.step(t.Context())
		c.wantKernel(t, spec)
		if c.kernel.Count(fake.Apply) != applied+1 || c.ipvs.Count(fake.Sync) != tried {
			t.Errorf("a change makes %d Apply of the old mode and %d Sync of the new one", c.kernel.Count(fake.Apply)-applied, c.ipvs.Count(fake.Sync)-tried)
		}
		c.wait()
	}
	c.wantActive(ipvsMode, 2)
	if got := len(c.ipvs.Kernel().Frontends); got != 1 || c.last.Problems != nil {
		t.Errorf("%d frontends, problems %v", got, c.last.Problems)
	}
	if c.ipvs.Count(fake.Incoming) != 1 || c.kernel.Count(fake.Outgoing) != 1 || c.kernel.Count(fake.Cleanup) != 1 {
		t.Errorf("calls of the old mode %v", c.kernel.Calls())
	}
	if from, to := c.ipvs.Others(fake.Incoming), c.kernel.Others(fake.Outgoing); !slices.Equal(from, []dataplane.Kind{dataplane.NAT}) || !slices.Equal(to, []dataplane.Kind{dataplane.LoadBalancer}) {
		t.Errorf("it comes from %v, the old one goes to %v", from, to)
	}
}

// Changes that a failed attempt made to the active rules are repaired at once.
func TestOldModeIsRestored(t *testing.T) {
	c := newChanging(t)
	spec := agenttest.Web("10.96.0.1", "10.244.1.2")
	c.fromAPI(spec)
	c.step(t.Context())
	fail(c.ipvs, fake.Sync, 1)
	c.ipvs.On = func(m fake.Method) {
		if m == fake.Sync {
			c.kernel.Clear()
		}
	}
	c.ask(ipvsMode)
	c.wantKernel(t, spec)
	if c.last.Repairs.Count != 0 {
		t.Errorf("counts %d external changes", c.last.Repairs.Count)
	}
}

// If that fails, too, the next step does it, and compares everything.
func TestOldModeIsRestoredLater(t *testing.T) {
	c := newChanging(t)
	c.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	c.step(t.Context())
	fail(c.ipvs, fake.Sync, 1)
	fail(c.kernel, fake.Sync, 1)
	c.ipvs.On = func(m fake.Method) {
		if m == fake.Sync {
			c.kernel.Clear()
		}
	}
	c.ask(ipvsMode)
	if err := c.last.Problem(report.KernelError); !errors.Is(err, errRejected) {
		t.Errorf("reports %v", err)
	}
	before := c.kernel.Count(fake.Sync)
	spec := c.endpoint(3)
	c.step(t.Context()) // the candidate is not due
	c.wantKernel(t, spec)
	if c.kernel.Count(fake.Sync) != before+1 || c.ipvs.Count(fake.Sync) != 1 || c.last.Problem(report.KernelError) != nil {
		t.Errorf("calls %v, of the new mode %v; reports %v", c.kernel.Calls(), c.ipvs.Calls(), c.last.Problems)
	}
}

// A mode that keeps failing counts as unsupported. The fallback is used, and the failed
// mode is cleaned up. When it can be programmed again, it is used again.
func TestFallbackAfterFailedSyncs(t *testing.T) {
	c := newChanging(t)
	c.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	c.step(t.Context())
	fail(c.ipvs, fake.Sync, maxFailedSyncs)
	c.ask(ipvsMode, iptablesMode)
	for range maxFailedSyncs - 1 {
		c.wantActive(nftablesMode, 1)
		c.wait()
	}
	c.wait()
	c.wantActive(iptablesMode, 2)
	if c.ipvs.Count(fake.Sync) != maxFailedSyncs || c.ipvs.Count(fake.Cleanup) != 1 || c.kernel.Count(fake.Cleanup) != 1 {
		t.Errorf("calls of the mode that failed: %v", c.ipvs.Calls())
	}
	if err := c.last.Problem(report.FallbackMode); err == nil || !strings.Contains(err.Error(), "IPVS: could not be programmed 5 times in a row: the kernel says no") {
		t.Errorf("reports %v", err)
	}
	for _, capability := range c.last.Capabilities {
		if capability.Mode == ipvsMode && (capability.Supported || !strings.Contains(capability.Message, "the kernel says no")) {
			t.Errorf("reports %+v", capability)
		}
	}
	c.wait()
	c.wantActive(ipvsMode, 2)
	if c.last.Problems != nil {
		t.Errorf("reports %v", c.last.Problems)
	}
}

// Without a fallback the active mode goes on, and the other is tried less and less often.
func TestNoFallbackAfterFailedSyncs(t *testing.T) {
	c := newChanging(t)
	c.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	c.step(t.Context())
	fail(c.ipvs, fake.Sync, 100*maxFailedSyncs)
	c.ask(ipvsMode)
	var pauses []time.Duration
	for round := range 4 {
		for c.last.Problem(report.ModeUnsupported) == nil {
			c.wait()
		}
		if c.last.Mode() != nftablesMode {
			t.Errorf("runs %s", c.last.Mode())
		}
		if tried := c.ipvs.Count(fake.Sync); tried != (round+1)*maxFailedSyncs {
			t.Errorf("round %d: tried %d times", round, tried)
		}
		spec := c.endpoint(10 + round)
		c.step(t.Context())
		c.wantKernel(t, spec)
		before := c.time.Now()
		c.wait()
		pauses = append(pauses, c.time.Since(before))
	}
	for i, pause := range pauses {
		if want := time.Second << i; pause < want || pause > want+want/5 {
			t.Errorf("pauses %v, want them to double from a second on", pauses)
			break
		}
	}
}

// A mode that has been programmed since is tried again as soon as after a first failure.
func TestPausesBeginAnew(t *testing.T) {
	c := newChanging(t)
	c.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	c.step(t.Context())
	for range 3 {
		fail(c.ipvs, fake.Sync, maxFailedSyncs)
		c.ask(ipvsMode)
		for c.last.Problem(report.ModeUnsupported) == nil {
			c.wait()
		}
		failed := c.time.Now()
		for c.last.Mode() != ipvsMode {
			c.wait()
		}
		if pause := c.time.Since(failed); pause < time.Second || pause > 2*time.Second {
			t.Errorf("it is programmed after %s, want about a second", pause)
		}
		c.ask(nftablesMode)
		c.wantActive(nftablesMode, c.generation)
	}
}

// Without an active mode, there is nothing better than to keep trying.
func TestFirstModeFails(t *testing.T) {
	c := newChanging(t)
	fail(c.kernel, fake.Sync, maxFailedSyncs+2)
	spec := agenttest.Web("10.96.0.1", "10.244.1.2")
	c.fromAPI(spec)
	c.step(t.Context())
	if !errors.Is(c.last.Problem(report.KernelError), errRejected) || c.last.Problem(report.ModeUnsupported) != nil || c.last.Programmed != nil {
		t.Errorf("reports %v", c.last.Problems)
	}
	for range maxFailedSyncs - 1 {
		c.wait()
	}
	if !errors.Is(c.last.Problem(report.KernelError), errRejected) || !errors.Is(c.last.Problem(report.ModeUnsupported), errRejected) {
		t.Errorf("after %d failures it reports %v", maxFailedSyncs, c.last.Problems)
	}
	for began := c.time.Now(); c.last.Programmed == nil; c.wait() {
		if c.time.Since(began) > time.Minute {
			t.Fatal("does not try on")
		}
	}
	c.wantKernel(t, spec)
	if c.last.Problems != nil || c.kernel.Count(fake.Cleanup) != 0 {
		t.Errorf("reports %v, calls %v", c.last.Problems, c.kernel.Calls())
	}
}

// A probe with a temporary failure is made again, and the better mode is used again. A
// probe that finds missing support is not made again for a while.
func TestProbeAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		err    error
		within time.Duration
		not    time.Duration
	}{
		"just now":  {errors.New("no memory"), 2 * time.Second, 500 * time.Millisecond},
		"not there": {dataplane.Unsupported(errors.New("no module")), 10 * time.Minute, 9 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChanging(t)
			c.kernel.Fail(fake.Probe, tc.err)
			node := testNodeRules(1)
			node.Spec.Mode = v1alpha1.ModeAuto
			c.store.SetNode(node)
			c.store.NodeSynced()
			c.store.ReplaceSlices(agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2")), true)
			c.step(t.Context())
			c.wantActive(ipvsMode, 1)
			if c.last.Problems != nil { // Auto names no mode that another one would replace
				t.Errorf("reports %v", c.last.Problems)
			}
			probes := c.kernel.Count(fake.Probe)
			c.time.Step(tc.not)
			for i := range 10 {
				c.endpoint(10 + i)
				c.step(t.Context())
			}
			if got := c.kernel.Count(fake.Probe); got != probes {
				t.Errorf("probed %d times too early", got-probes)
			}
			c.time.Step(tc.within - tc.not)
			c.step(t.Context())
			c.wantActive(nftablesMode, 1)
			if c.ipvs.Count(fake.Cleanup) != 1 || c.last.Problems != nil {
				t.Errorf("reports %v, calls of the other mode %v", c.last.Problems, c.ipvs.Calls())
			}
		})
	}
}

// An active mode is not left because a probe for other options fails temporarily.
func TestProbeOfTheActiveModeFails(t *testing.T) {
	c := newChanging(t)
	c.modes.list[1].Parse = parseScheduler
	c.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	c.ask(ipvsMode, nftablesMode)
	c.wantActive(ipvsMode, 2)
	c.ipvs.Fail(fake.Probe, errors.New("no memory"))
	c.generation++
	c.store.SetNode(asking(c.generation, "sh", ipvsMode, nftablesMode))
	c.step(t.Context())
	c.wantActive(ipvsMode, 3)
	if got := c.ipvs.Options(); got != "sh" {
		t.Errorf("runs with %v", got)
	}
}

// A policy that is reverted drops the candidate, whose traces are removed.
func TestCandidateIsDropped(t *testing.T) {
	c := newChanging(t)
	c.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	c.step(t.Context())
	fail(c.ipvs, fake.Sync, 1)
	c.ask(ipvsMode)
	await(t, "the candidate is watched", func() bool { return c.ipvs.Watchers() == 1 })
	c.ask(nftablesMode)
	c.wantActive(nftablesMode, 3)
	await(t, "it is not watched any more", func() bool { return c.ipvs.Watchers() == 0 })
	if c.ipvs.Count(fake.Cleanup) != 1 || c.kernel.Count(fake.Cleanup) != 0 || c.kernel.Count(fake.Close) != 0 || c.last.Problems != nil {
		t.Errorf("reports %v, calls %v and %v", c.last.Problems, c.ipvs.Calls(), c.kernel.Calls())
	}
}

// A mode that became active has its own options, and keeps them while the next one is tried.
func TestOptionsOfTheActiveMode(t *testing.T) {
	c := newChanging(t)
	c.modes.list[1].Parse = parseScheduler
	c.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	c.step(t.Context())
	c.generation++
	c.store.SetNode(asking(c.generation, "sh", ipvsMode))
	c.step(t.Context())
	c.wantActive(ipvsMode, 2)
	fail(c.kernel, fake.Sync, 1)
	syncs := c.ipvs.Count(fake.Sync)
	c.ask(nftablesMode)
	if got := c.ipvs.Options(); c.ipvs.Count(fake.Sync) != syncs+1 || got != "sh" {
		t.Errorf("%d Sync of the active mode, with %v", c.ipvs.Count(fake.Sync)-syncs, got)
	}
}
