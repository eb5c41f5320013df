// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// leaving are the rules of a node that is to be cleaned up.
func leaving(generation int64) *source.NodeRules {
	n := testNodeRules(generation)
	n.Spec.DeletionPolicy, n.Spec.CleanUpSince = v1alpha1.DeletionCleanup, &metav1.Time{Time: time.Unix(1000, 0)}
	return n
}

// wantClean checks that the node holds nothing and says so.
func (h *harness) wantClean(t *testing.T, modes ...*fake.Dataplane) {
	t.Helper()
	for _, d := range append(modes, h.kernel) {
		if k := d.Kernel(); len(k.Frontends) > 0 || d.Watchers() > 0 {
			t.Errorf("the kernel holds %v, watched by %d", describe(k), d.Watchers())
		}
	}
	if left := h.installed.Others(""); len(left) > 0 {
		t.Errorf("notes that %v have left traces", left)
	}
	h.wantProgrammed(t, v1alpha1.ReasonCleanedUp)
}

// wantProgrammed checks the reason of the condition Programmed.
func (h *harness) wantProgrammed(t *testing.T, want string) {
	t.Helper()
	for _, c := range report.StatusOf(h.last, nil, metav1.Now()).Conditions {
		if c.Type == v1alpha1.ConditionProgrammed && c.Reason != want {
			t.Errorf("Programmed is %s, %s: %s; want the reason %s", c.Status, c.Reason, c.Message, want)
		}
	}
}

// A node that is to be cleaned up holds nothing, follows no Services, and is programmed
// with those of then when the clean-up is withdrawn.
func TestLeaveAndComeBack(t *testing.T) {
	h := newHarness(t)
	var checks resolve.HealthChecks
	h.answer = func(_ model.NodeSettings, changed resolve.HealthChecks) { checks = changed }
	a, b := agenttest.Web("10.96.0.1", "10.244.1.2"), agenttest.Web("10.96.0.2", "10.244.1.3")
	a.HealthCheckNodePort, a.ExternalTrafficPolicy = 30000, "Local"
	malformed := agenttest.Web("10.96.0.3", "127.0.0.1")
	malformed.ServiceName = "malformed"
	flows := &recorder{}
	h.flows = flows
	h.fromAPI(a, malformed)
	h.step(t.Context())
	if len(checks) != 1 || h.last.Problem(report.SkippedRules) == nil {
		t.Fatalf("health checks: %v, problems: %v", checks, h.last.Problems)
	}
	flows.take()
	h.store.SetNode(leaving(2))
	h.step(t.Context())
	h.wantClean(t)
	if changed := flows.take(); !slices.Contains(changed, "change 10.96.0.1:80/tcp") {
		t.Errorf("of flows it notes %v", changed)
	}
	for port, claims := range checks {
		if len(claims) > 0 {
			t.Errorf("the health checks at %v are still answered", port)
		}
	}
	if len(checks) != 1 {
		t.Errorf("health checks: %v", checks)
	}

	h.store.SetSlice(agenttest.WebName, b, time.Time{})
	h.store.SetSlice(model.SliceNameOf(malformed), nil, time.Time{})
	h.needSync = true // as a regular read-back
	h.step(t.Context())
	h.wantClean(t)
	h.store.LoseNode() // the controller deletes the NodeRuleSet
	h.step(t.Context())
	h.wantClean(t)

	h.store.SetNode(testNodeRules(3))
	h.step(t.Context())
	h.wantKernel(t, b)
	h.wantProgrammed(t, v1alpha1.ReasonProgrammed)
	if h.last.Problems != nil { // not of Services that are gone
		t.Errorf("reports %v", h.last.Problems)
	}
	if got := h.installed.Active(); got != v1alpha1.ModeNFTables {
		t.Errorf("notes that %q is active", got)
	}
}

// What is left of a clean-up is tried again, and reported.
func TestLeaveFails(t *testing.T) {
	h := newHarness(t)
	a := agenttest.Web("10.96.0.1", "10.244.1.2")
	h.fromAPI(a)
	h.step(t.Context())
	setBack, readOnly := 0, errors.New("read-only")
	h.untune = func() error { setBack++; return readOnly }
	h.kernel.Fail(fake.Cleanup, errors.New("busy"))
	h.store.SetNode(leaving(2))
	h.step(t.Context())
	h.wantProgrammed(t, v1alpha1.ReasonCleanUpFailed)
	if h.retry != cleanupInterval {
		t.Errorf("tries again after %s, want %s", h.retry, cleanupInterval)
	}
	if setBack > 0 {
		t.Error("kernel parameters are set back before the rules are gone")
	}
	h.step(t.Context())
	h.wantProgrammed(t, v1alpha1.ReasonCleanUpFailed) // for the parameters
	readOnly = nil
	h.step(t.Context())
	h.wantClean(t)
	if setBack != 2 {
		t.Errorf("kernel parameters are set back %d times, want 2", setBack)
	}
	if h.retry != 0 {
		t.Errorf("tries again after %s, want not at all", h.retry)
	}

	// Withdrawn before it succeeds.
	h.store.SetNode(testNodeRules(3))
	h.step(t.Context())
	h.kernel.Fail(fake.Cleanup, errors.New("busy"))
	h.store.SetNode(leaving(4))
	h.step(t.Context())
	h.store.SetNode(testNodeRules(5))
	h.step(t.Context())
	h.wantKernel(t, a)
	h.wantProgrammed(t, v1alpha1.ReasonProgrammed)
	if diff := cmp.Diff([]report.Problem(nil), h.last.Problems); diff != "" {
		t.Error(diff)
	}
}

// All modes that are installed are cleaned up: the active one, one that is drained, and one
// of an earlier agent.
func TestLeaveAllModes(t *testing.T) {
	c := newChanging(t)
	if err := c.installed.Add(ipvsMode); err != nil {
		t.Fatal(err)
	}
	c.ipvs.Wait = time.Minute // it has connections
	c.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	c.step(t.Context())
	if diff := cmp.Diff([]v1alpha1.ProxyMode{nftablesMode, ipvsMode}, c.installed.Others("")); diff != "" {
		t.Fatal(diff)
	}
	c.store.SetNode(leaving(2))
	c.step(t.Context())
	c.wantClean(t, c.ipvs)
	if got := c.ipvs.Count(fake.Cleanup); got != 1 {
		t.Errorf("IPVS was cleaned up %d times, want once", got)
	}
}

// A checkpoint alone neither programs a node that left nor cleans up one that may be
// selected again.
func TestLeaveNeedsTheAPI(t *testing.T) {
	h := newHarness(t)
	if err := h.installed.Add(v1alpha1.ModeNFTables); err != nil {
		t.Fatal(err)
	}
	h.store.Restore(leaving(1), agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2")))
	h.step(t.Context())
	if calls := h.kernel.Calls(); len(calls) > 0 {
		t.Errorf("the kernel was called: %v", calls)
	}
	h.store.SetNode(leaving(1))
	h.store.NodeSynced()
	h.step(t.Context())
	if calls := h.kernel.Calls(); len(calls) > 0 {
		t.Errorf("the kernel was called: %v", calls)
	}
	h.store.ReplaceSlices(agenttest.Listed(), true)
	h.step(t.Context())
	h.wantClean(t)
	if got := h.kernel.Count(fake.Cleanup); got != 1 {
		t.Errorf("cleaned up %d times, want once", got)
	}
}
