// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/agent/state"
)

// revision returns the rules of the node in a generation, with the name of their revision.
func revision(generation int64, name string) *source.NodeRules {
	out := testNodeRules(generation)
	out.Spec.Revision = name
	return out
}

// applied is the revision that the loop reports.
func (h *harness) applied() string { return report.StatusOf(h.last, nil, metav1.Now()).AppliedRevision }

// TestRevisionAlone gives a NodeRuleSet of an older controller the name of its revision, and then
// another name. That costs no call of the dataplane, and is reported.
func TestRevisionAlone(t *testing.T) {
	h := newHarness(t)
	operations, before := 0, h.report
	h.report = func(s report.Snapshot) { operations += s.Step.Operations; before(s) }
	spec := agenttest.Web("10.96.0.1", "10.244.1.2", "10.244.1.3")
	h.fromAPI(spec)
	h.step(t.Context())
	if h.applied() != "" || operations == 0 {
		t.Errorf("at first: revision %q, %d operations", h.applied(), operations)
	}
	operations = 0
	calls := h.kernel.Calls()
	for i, name := range []string{"default-1", "default-2"} {
		h.store.SetNode(revision(int64(i+2), name))
		h.step(t.Context())
		if h.applied() != name || h.last.Programmed.Node.Generation != int64(i+2) {
			t.Errorf("reports the revision %q, generation %d", h.applied(), h.last.Programmed.Node.Generation)
		}
		if operations != 0 {
			t.Errorf("%s cost %d operations", name, operations)
		}
	}
	if diff := cmp.Diff(calls, h.kernel.Calls()); diff != "" {
		t.Errorf("calls (-before +after):\n%s", diff)
	}
	h.wantKernel(t, spec)
}

// TestRevisionIsReportedWhenProgrammed checks that the earlier revision is reported until the
// kernel has taken the new one.
func TestRevisionIsReportedWhenProgrammed(t *testing.T) {
	c := newChanging(t)
	c.store.SetNode(revision(1, "default-1"))
	c.store.NodeSynced()
	c.list()
	c.step(t.Context())
	if c.applied() != "default-1" {
		t.Fatalf("at first: %q", c.applied())
	}
	// Another address for node ports: the active mode refuses it once.
	next := revision(2, "default-2")
	next.Spec.Node.Addresses = []string{"192.0.2.9"}
	c.kernel.Fail(fake.Apply, errRejected)
	c.store.SetNode(next)
	c.step(t.Context())
	if c.applied() != "default-1" || c.last.Problem(report.KernelError) == nil {
		t.Errorf("the kernel refused it: %q, problems %v", c.applied(), c.last.Problems)
	}
	c.wait()
	if c.applied() != "default-2" {
		t.Errorf("the kernel took it: %q", c.applied())
	}
	// Another mode: it refuses the first Sync.
	c.ipvs.Fail(fake.Sync, errRejected)
	next = revision(3, "default-3")
	next.Spec.Mode = ipvsMode
	c.store.SetNode(next)
	c.step(t.Context())
	if c.applied() != "default-2" {
		t.Errorf("the mode is not active: %q", c.applied())
	}
	c.wait()
	if c.applied() != "default-3" {
		t.Errorf("the mode is active: %q", c.applied())
	}
}

// TestRevisionAfterRestart checks that an agent that starts without the apiserver reports the
// revision in its checkpoint.
func TestRevisionAfterRestart(t *testing.T) {
	dir := t.TempDir()
	open := func(in *source.Store) *state.Journal {
		t.Helper()
		// By this clock the journal waits for the disk, however slow it is.
		j, err := state.OpenJournal(dir, in.Snapshot, in.Wake, clocktesting.NewFakeClock(time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	first := newHarness(t)
	journal := open(first.store)
	first.journal = journal
	first.store.SetNode(revision(1, "default-1"))
	first.store.NodeSynced()
	first.store.ReplaceSlices(agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2")), true)
	first.step(t.Context())
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}

	second := newHarnessAt(t, clock.RealClock{})
	second.journal = open(second.store)
	t.Cleanup(func() { second.journal.Close() })
	node, slices, err := second.journal.Load()
	if err != nil {
		t.Fatal(err)
	}
	second.store.Restore(node, slices)
	second.step(t.Context())
	if second.applied() != "default-1" || second.last.FromAPI {
		t.Errorf("reports %q, from the API: %v", second.applied(), second.last.FromAPI)
	}
}
