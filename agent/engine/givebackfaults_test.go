// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// readyToGiveBack is a node that is to give back to a kube-proxy that does not serve it yet.
func readyToGiveBack(t *testing.T) *changing {
	c := newChanging(t)
	c.list()
	c.store.NodeSynced()
	c.proxy.serves = -settled
	c.givesBack("r-1", 1, nftablesMode)
	c.verifyNow()
	return c
}

// TestGiveBackKeepsRouteLocalnet has our mode set a parameter back that kube-proxy needs: it is set again after that.
func TestGiveBackKeepsRouteLocalnet(t *testing.T) {
	c := readyToGiveBack(t)
	tree, set := routeLocalnetTree(t)
	set("1")
	c.modes.env.Sysctls = tree
	c.kernel.On = func(m fake.Method) {
		if m == fake.Cleanup {
			set("0")
		}
	}
	c.proxy.serves, c.proxy.found = settled, &v1alpha1.KubeProxyStatus{Running: true, Mode: v1alpha1.KubeProxyIPTables, Leftovers: []string{"rules"}}
	c.store.Wake()
	c.step(t.Context())
	c.wantReleased("kube-proxy serves the node", true)
	if got, err := tree.Get(routeLocalnet); got != "1" || err != nil {
		t.Errorf("%q, want 1 (%v)", got, err)
	}
}

// TestGiveBackInterrupted ends the agent while it removes our rules: that is no failure to be reported.
func TestGiveBackInterrupted(t *testing.T) {
	c := readyToGiveBack(t)
	ctx, cancel := context.WithCancel(t.Context())
	c.kernel.On = func(m fake.Method) {
		if m == fake.Cleanup {
			cancel()
		}
	}
	c.proxy.serves, c.proxy.found = settled, &v1alpha1.KubeProxyStatus{Running: true, Mode: v1alpha1.KubeProxyNFTables, Leftovers: []string{"rules"}}
	c.store.Wake()
	c.step(ctx)
	if ctx.Err() == nil {
		t.Fatal("nothing was removed")
	}
	if err := c.last.Problem(report.NodeCleanup); err != nil || c.last.Released {
		t.Errorf("reports %v, released: %v", err, c.last.Released)
	}
}

// TestGiveBackToNothing loses kube-proxy on a node that can run no mode any more: what the agent had programmed is not what it has.
func TestGiveBackToNothing(t *testing.T) {
	c := readyToGiveBack(t)
	c.serve(settled)
	c.wantReleased("kube-proxy serves the node", true)
	unsupported := dataplane.Unsupported(errors.New("no module"))
	c.modes.forget()
	clear(c.modes.tried)
	c.kernel.Fail(fake.Probe, unsupported, unsupported, unsupported)
	c.serve(-settled)
	c.step(t.Context())
	c.wantProgrammed(t, v1alpha1.ReasonModeUnsupported)
	if c.last.Programmed != nil {
		t.Errorf("reports %+v", c.last.Programmed)
	}
}

// TestCleanUpAwaitsAfterRestart starts an agent on a node that is to be cleaned up and given back: the rules of the agent before stay
// until kube-proxy serves the node.
func TestCleanUpAwaitsAfterRestart(t *testing.T) {
	c := newChanging(t)
	if err := c.installed.Add(nftablesMode); err != nil {
		t.Fatal(err)
	}
	c.list()
	c.store.NodeSynced()
	c.proxy.serves = -settled
	c.leaves()
	if n := c.kernel.Count(fake.Cleanup); n != 0 {
		t.Errorf("cleaned up %d times before kube-proxy serves the node", n)
	}
	c.look()
	c.look()
	c.wantClean(t)
}

// TestIsLost checks in how many looks kube-proxy has to be away until the node is programmed again.
func TestIsLost(t *testing.T) {
	rules, gone := &v1alpha1.KubeProxyStatus{Leftovers: []string{"rules"}}, &v1alpha1.KubeProxyStatus{}
	for name, c := range map[string]struct {
		serves int
		found  *v1alpha1.KubeProxyStatus
		want   bool
	}{
		"not looked for":                     {0, nil, false},
		"looks of before, none since":        {0, gone, false},
		"it serves":                          {1, rules, false},
		"not in one look":                    {-1, rules, false},
		"nor in the next":                    {-settled, rules, true},
		"one finds not even rules":           {-1, gone, true},
		"not in one look, and nothing known": {-1, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := predecessor{KubeProxy: &fakeKubeProxy{serves: c.serves, found: c.found}}
			if got := p.isLost(); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// TestTakeOverWithoutDisk cannot note that virtual servers of kube-proxy are left: its rules stay, by which they are known.
func TestTakeOverWithoutDisk(t *testing.T) {
	c := newChanging(t)
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	installed, err := state.OpenInstalledModes(dir)
	if err != nil {
		t.Fatal(err)
	}
	c.installed = installed
	c.modes.byName(ipvsMode).Inherits = v1alpha1.KubeProxyIPVS
	c.list()
	c.store.NodeSynced()
	c.takeOver("r-1", 1, nftablesMode)
	c.verifyNow()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	c.proxy.found = left(v1alpha1.KubeProxyIPVS)
	for range 2 {
		c.step(t.Context())
		c.wantRemoval("it is not noted", false)
		if c.problems[report.PreviousModeCleanup] == nil {
			t.Error("no problem")
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c.step(t.Context())
	c.wantRemoval("it is noted", true)
}

// TestHoldsNothing checks which problems go with the rules.
func TestHoldsNothing(t *testing.T) {
	c := newChanging(t)
	journal, refused, cleanup, other := errors.New("full"), errors.New("refused"), errors.New("busy"), errors.New("old")
	c.problems[report.JournalFailed], c.problems[report.RefusedSlices] = journal, refused
	c.problems[report.KernelError], c.problems[report.PreviousModeCleanup] = other, other
	holdsNothing(c.Loop, cleanup)
	want := report.Problems{report.JournalFailed: journal, report.RefusedSlices: refused, report.NodeCleanup: cleanup}
	if diff := cmp.Diff(want, c.problems, cmpopts.EquateErrors()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
