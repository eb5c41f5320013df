// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// fakeKubeProxy is kube-proxy as it was found, and which of its rules are to be removed.
type fakeKubeProxy struct {
	found, wanted *v1alpha1.KubeProxyStatus
	soon          bool // the next look
	serves        int
	unserved      corev1.IPFamily // which it does not serve
}

func (k *fakeKubeProxy) Found() *v1alpha1.KubeProxyStatus     { return k.found }
func (k *fakeKubeProxy) Want(found *v1alpha1.KubeProxyStatus) { k.wanted = found }

func (k *fakeKubeProxy) Serves(families ...corev1.IPFamily) int {
	if slices.Contains(families, k.unserved) {
		return min(k.serves, -settled)
	}
	return k.serves
}

func (k *fakeKubeProxy) LookSoon(soon bool) {
	if soon && !k.soon {
		k.serves = min(k.serves, 0)
	}
	k.soon = soon
}

// left is a kube-proxy that has ended and has left rules.
func left(mode v1alpha1.KubeProxyMode) *v1alpha1.KubeProxyStatus {
	return &v1alpha1.KubeProxyStatus{Mode: mode, Leftovers: []string{"rules"}}
}

// takeOver gives the node a revision that takes over from kube-proxy.
func (c *changing) takeOver(name string, second int, modes ...v1alpha1.ProxyMode) {
	c.giveWith(v1alpha1.KubeProxyTakeOver, name, second, modes...)
}

// giveWith gives the node a revision with an action about kube-proxy.
func (c *changing) giveWith(action v1alpha1.KubeProxyAction, name string, second int, modes ...v1alpha1.ProxyMode) {
	c.generation++
	rules := assigned(c.generation, name, second, modes...)
	rules.Spec.KubeProxy = action
	c.store.SetNode(rules)
	c.step(c.t.Context())
}

func (c *changing) wantRemoval(when string, want bool) {
	c.t.Helper()
	if got := c.proxy.wanted; want && (got == nil || got != c.proxy.found) || !want && got != nil {
		c.t.Errorf("%s: rules of kube-proxy are to be removed: %+v, want %v", when, got, want)
	}
}

// TestTakeOver goes through everything that must be before rules of kube-proxy are removed.
func TestTakeOver(t *testing.T) {
	c := newChanging(t)
	c.proxy.found = left(v1alpha1.KubeProxyIPTables)
	refused := errors.New("refused")
	c.kernel.Fail(fake.Sync, refused)
	c.list()
	c.takeOver("r-1", 1, nftablesMode)
	c.wantRemoval("before the API is known", false)
	c.store.NodeSynced()
	c.step(t.Context())
	c.wantRemoval("before the first programming", false)
	c.kernel.Fail(fake.Sync, nil)
	c.wait()
	c.wantRemoval("before the revision is verified", false)
	c.verifyNow()
	c.wantRevision("r-1", v1alpha1.RevisionVerified, "r-1", "")
	c.wantRemoval("verified", true)
	if !c.proxy.soon {
		t.Error("the rollout waits for kube-proxy, and the next look is not soon")
	}

	c.kernel.Fail(fake.Sync, refused)
	c.needSync = true
	c.step(t.Context())
	c.wantRemoval("the kernel refuses", false)
	c.kernel.Fail(fake.Sync, nil)
	c.wait()
	c.wantRemoval("it does not any more", true)

	c.proxy.found = &v1alpha1.KubeProxyStatus{Running: true, Leftovers: []string{"rules"}}
	c.step(t.Context())
	c.wantRemoval("kube-proxy runs again", false)
	c.proxy.found = left(v1alpha1.KubeProxyNFTables)
	c.step(t.Context())
	c.wantRemoval("it has ended, with other rules", true)
	if left := c.installed.Others(nftablesMode); len(left) > 0 {
		t.Errorf("notes that %v have left traces", left)
	}

	c.takeOver("r-2", 2, nftablesMode)
	c.wantRemoval("a revision on trial", false)
	c.verifyNow()
	c.wantRemoval("verified, too", true)
	c.give("r-3", 3, nftablesMode)
	c.verifyNow()
	c.wantRemoval("kube-proxy is to be left alone", false)
	if c.proxy.soon {
		t.Error("the next look is soon although kube-proxy is to be left alone")
	}

	c.takeOver("r-4", 4, nftablesMode)
	c.verifyNow()
	c.wantRemoval("again", true)
	c.store.SetNode(leaving(100))
	c.step(t.Context())
	c.wantRemoval("no policy selects the node", false)
	if c.proxy.soon {
		t.Error("the next look is soon although no policy selects the node")
	}
}

// TestTakeOverFromJournal checks that nothing is removed before the apiserver has answered.
func TestTakeOverFromJournal(t *testing.T) {
	c := newChanging(t)
	c.proxy.found = left(v1alpha1.KubeProxyIPTables)
	rules := testNodeRules(1)
	rules.Spec.KubeProxy = v1alpha1.KubeProxyTakeOver
	c.store.Restore(rules, agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2")))
	c.step(t.Context())
	if c.dp == nil {
		t.Fatal("the journal is not programmed")
	}
	c.wantRemoval("from the journal", false)
}

// TestTakeOverFromIPVS drains the virtual servers of kube-proxy before they are removed, and leaves
// them alone while one runs.
func TestTakeOverFromIPVS(t *testing.T) {
	c := newChanging(t)
	c.proxy.found = left(v1alpha1.KubeProxyIPVS)
	c.modes.byName(ipvsMode).Inherits = v1alpha1.KubeProxyIPVS
	c.ipvs.Wait = time.Minute // for connections
	c.list()
	c.store.NodeSynced()
	c.takeOver("r-1", 1, nftablesMode)
	c.verifyNow()
	c.wantRemoval("verified", true)
	if diff := cmp.Diff([]v1alpha1.ProxyMode{ipvsMode}, c.installed.Others(nftablesMode)); diff != "" {
		t.Fatalf("modes with traces (-want +got):\n%s", diff)
	}
	c.proxy.found = nil // it is removed
	c.step(t.Context())
	if got := c.ipvs.Count(fake.Cleanup); got != 0 {
		t.Errorf("cleaned up %d times while there are connections", got)
	}
	c.ipvs.Wait = 0
	c.proxy.found = &v1alpha1.KubeProxyStatus{Running: true, Mode: v1alpha1.KubeProxyIPVS}
	c.step(t.Context())
	if got := c.ipvs.Count(fake.Cleanup); got != 0 {
		t.Errorf("cleaned up %d times while kube-proxy runs", got)
	}
	c.proxy.found = nil
	c.step(t.Context())
	if got, left := c.ipvs.Count(fake.Cleanup), c.installed.Others(nftablesMode); got != 1 || len(left) > 0 {
		t.Errorf("cleaned up %d times, want once; traces of %v", got, left)
	}
}

// TestShares checks when what a mode has left may be that of a kube-proxy that runs.
func TestShares(t *testing.T) {
	ipvs := &dataplane.Mode{Name: ipvsMode, Inherits: v1alpha1.KubeProxyIPVS}
	runs := func(mode v1alpha1.KubeProxyMode) *v1alpha1.KubeProxyStatus {
		return &v1alpha1.KubeProxyStatus{Running: true, Mode: mode}
	}
	for name, c := range map[string]struct {
		found *v1alpha1.KubeProxyStatus
		mode  *dataplane.Mode
		want  bool
	}{
		"it runs in that mode":          {runs(v1alpha1.KubeProxyIPVS), ipvs, true},
		"it was not looked for":         {nil, ipvs, false},
		"it is gone":                    {&v1alpha1.KubeProxyStatus{}, ipvs, false},
		"its rules are left":            {left(v1alpha1.KubeProxyIPVS), ipvs, false},
		"it runs in another mode":       {runs(v1alpha1.KubeProxyNFTables), ipvs, false},
		"a mode that inherits nothing":  {runs(""), &dataplane.Mode{Name: nftablesMode}, false},
		"a mode of another build of us": {runs(v1alpha1.KubeProxyIPVS), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := predecessor{KubeProxy: &fakeKubeProxy{found: c.found}}
			if got := p.shares(c.mode); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// TestInheritFromIPVS takes over in the mode that has the virtual servers of kube-proxy, too: it has inherited them in a Sync before
// the rules go by which another agent would know whose they are.
func TestInheritFromIPVS(t *testing.T) {
	c := newChanging(t)
	c.modes.byName(ipvsMode).Inherits = v1alpha1.KubeProxyIPVS
	c.proxy.found = &v1alpha1.KubeProxyStatus{Running: true, Mode: v1alpha1.KubeProxyIPVS, Leftovers: []string{"rules"}}
	c.list()
	c.store.NodeSynced()
	c.takeOver("r-1", 1, ipvsMode)
	c.verifyNow()
	want := func(when string, inherits int) {
		t.Helper()
		if got := c.ipvs.Count(fake.Inherit); got != inherits {
			t.Errorf("%s: has inherited %d times, want %d", when, got, inherits)
		}
	}
	want("kube-proxy runs", 0)
	refused := errors.New("refused")
	c.ipvs.Fail(fake.Sync, refused)
	c.proxy.found = left(v1alpha1.KubeProxyIPVS)
	c.step(t.Context())
	want("it has ended", 1)
	c.wantRemoval("before the Sync", false)
	c.step(t.Context())
	c.wantRemoval("the kernel refuses", false)
	c.wait()
	want("it does not any more", 2)
	c.wantRemoval("before another Sync", false)
	before := c.ipvs.Count(fake.Sync)
	c.wait()
	c.wantRemoval("inherited", true)
	c.step(t.Context())
	want("nothing else is found", 2)
	if got := c.ipvs.Count(fake.Sync); got != before+1 {
		t.Errorf("%d Syncs, want one", got-before)
	}
	c.proxy.found = left(v1alpha1.KubeProxyNFTables)
	c.step(t.Context())
	c.wantRemoval("rules of a mode that it does not inherit", true)
	want("these", 2)
	c.proxy.found = left(v1alpha1.KubeProxyIPVS)
	c.step(t.Context())
	want("kube-proxy was there again", 3)
}
