// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestJournalComesFirst reads the journal whenever the kernel is programmed: an agent that is
// killed then must not take the kernel back to an older state.
func TestJournalComesFirst(t *testing.T) {
	h, dir := newHarness(t), t.TempDir()
	journal, err := state.OpenJournal(dir, h.store.Snapshot, h.store.Wake, clock.RealClock{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { journal.Close() })
	h.journal = journal
	var got []string
	h.kernel.On = func(call fake.Method) {
		if call == fake.Sync || call == fake.Apply {
			got = append(got, string(call)+" "+stored(t, dir))
		}
	}
	h.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	h.step(t.Context())
	h.store.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.1", "10.244.1.3"), time.Time{})
	h.step(t.Context())
	h.store.SetSlice(agenttest.WebName, nil, time.Time{})
	h.step(t.Context())
	want := []string{"Sync 10.244.1.2", "Apply 10.244.1.3", "Apply none"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("programmed, and in the journal (-want +got):\n%s", diff)
	}
}

// stored returns the endpoint in the journal in a folder, as an agent after this one reads it.
func stored(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if errors.Is(err, os.ErrNotExist) {
		return "none yet"
	}
	next := t.TempDir()
	if err == nil {
		err = os.WriteFile(filepath.Join(next, "checkpoint"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	j, err := state.OpenJournal(next, nil, func() {}, clock.RealClock{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	_, all, err := j.Load()
	switch {
	case err != nil:
		return err.Error()
	case all[agenttest.WebName] == nil:
		return "none"
	}
	return all[agenttest.WebName].Endpoints[0].Address
}

// TestLoopReportsWhatIsHeld loses a slice whose Service the apiserver still has.
func TestLoopReportsWhatIsHeld(t *testing.T) {
	h := newHarness(t)
	spec := agenttest.Web("10.96.0.1", "10.244.1.2")
	h.fromAPI(spec)
	h.step(t.Context())
	h.store.LoseSlice(agenttest.WebName)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	asked := make(chan struct{}, 100)
	wanted := model.Wanted{Families: map[corev1.IPFamily]bool{corev1.IPv4Protocol: true}, Endpoints: map[string]bool{"10.244.1.2": true}}
	go source.Release(ctx, h.store, func(context.Context, types.NamespacedName) (model.Wanted, error) {
		asked <- struct{}{}
		return wanted, nil
	}, clk)
	await(t, "checked", func() bool { clk.Step(time.Minute); return h.store.Held().Err != nil })
	h.step(t.Context())
	if h.last.Problem(report.RemovalHeld) == nil || h.last.Held.Slices != 1 {
		t.Errorf("reports %v, %+v", h.last.Problems, h.last.Held)
	}
	h.wantKernel(t, spec)
	h.store.SetSlice(agenttest.WebName, spec, time.Time{})
	h.step(t.Context())
	if h.last.Problem(report.RemovalHeld) != nil || h.last.Held.Slices != 0 {
		t.Errorf("after it came back: reports %v, %+v", h.last.Problems, h.last.Held)
	}
}

// TestFallbackIsReportedWhileItLasts checks that a mode of the fallbackModes is reported also
// when it is active already.
func TestFallbackIsReportedWhileItLasts(t *testing.T) {
	c := newChanging(t)
	c.store.NodeSynced()
	c.list()
	c.ipvs.Fail(fake.Probe, errNoModule, errNoModule, errNoModule)
	for range 2 {
		c.ask(ipvsMode, nftablesMode)
		if c.last.Mode() != nftablesMode || c.last.Problem(report.FallbackMode) == nil {
			t.Errorf("generation %d: %s, problems %v", c.generation, c.last.Mode(), c.last.Problems)
		}
	}
	c.ask(nftablesMode)
	if err := c.last.Problem(report.FallbackMode); err != nil {
		t.Errorf("asked for: %v", err)
	}
}

// TestAutoTriesByRank checks the order, and that a mode without a rank is never tried.
func TestAutoTriesByRank(t *testing.T) {
	mode := func(name v1alpha1.ProxyMode, rank int) dataplane.Mode {
		return ranked(rank, fake.Mode(name, dataplane.NAT, fake.New()))
	}
	m := &nodeModes{list: []dataplane.Mode{mode("third", 7), mode("never", 0), mode("first", 1), mode("second", 2)}}
	if got, want := m.auto(), []v1alpha1.ProxyMode{"first", "second", "third"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestOldModeStaysWhileTheNewOneFails checks that what a previous mode has left goes only
// while the active one is programmed.
func TestOldModeStaysWhileTheNewOneFails(t *testing.T) {
	c := restarted(t, ipvsMode)
	c.ipvs.Wait = time.Minute // for its connections
	c.list()
	c.ask(nftablesMode)
	if c.last.Mode() != nftablesMode || c.ipvs.Count(fake.Cleanup) > 0 {
		t.Fatalf("runs %s, calls %v", c.last.Mode(), c.ipvs.Calls())
	}
	c.ipvs.Wait = 0
	fail(c.kernel, fake.Apply, 1)
	c.endpoint(7)
	c.step(t.Context())
	if c.last.Problem(report.KernelError) == nil || c.ipvs.Count(fake.Cleanup) > 0 {
		t.Errorf("while it fails: problems %v, calls %v", c.last.Problems, c.ipvs.Calls())
	}
	c.wait()
	if c.last.Problem(report.KernelError) != nil || c.ipvs.Count(fake.Cleanup) != 1 {
		t.Errorf("later: problems %v, calls %v", c.last.Problems, c.ipvs.Calls())
	}
}

// TestLimitationsLast checks that limitations are reported until a programming has others, also
// by steps that program nothing.
func TestLimitationsLast(t *testing.T) {
	h := newHarness(t)
	h.kernel.Unsupported = []dataplane.Limitation{{Reason: dataplane.ReasonIPv6, Message: "no IPv6", Count: 1}}
	h.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	for _, step := range []string{"programmed", "nothing changes"} {
		if h.step(t.Context()); len(h.last.Limitations) != 1 {
			t.Errorf("%s: %v", step, h.last.Limitations)
		}
	}
	h.kernel.Unsupported = nil
	h.store.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.1", "10.244.1.3"), time.Time{})
	if h.step(t.Context()); len(h.last.Limitations) != 0 {
		t.Errorf("it has IPv6 now: %v", h.last.Limitations)
	}
}

// TestAnotherPolicyDoesNotWait checks that what has failed is tried at once if the policy asks
// for other modes, and else when it is due.
func TestAnotherPolicyDoesNotWait(t *testing.T) {
	c := newChanging(t)
	c.store.NodeSynced()
	c.list()
	c.ipvs.Fail(fake.Probe, errNoModule, errNoModule, errNoModule)
	c.ask(ipvsMode, nftablesMode)
	before := c.ipvs.Count(fake.Probe)
	c.ask(ipvsMode, nftablesMode)
	if got := c.ipvs.Count(fake.Probe); got != before {
		t.Errorf("the same modes: probed %d times more", got-before)
	}
	c.ask(ipvsMode, iptablesMode)
	if got := c.ipvs.Count(fake.Probe); got != before+1 {
		t.Errorf("other modes: probed %d times more", got-before)
	}
}
