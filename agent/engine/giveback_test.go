// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// givesBack gives the node a revision that gives back to kube-proxy.
func (c *changing) givesBack(name string, second int, modes ...v1alpha1.ProxyMode) {
	c.giveWith(v1alpha1.KubeProxyGiveBack, name, second, modes...)
}

// serve has kube-proxy serve the node in so many looks, or not; the loop steps.
func (c *changing) serve(looks int) {
	c.proxy.serves, c.proxy.found = looks, &v1alpha1.KubeProxyStatus{Leftovers: []string{"rules"}}
	if looks > 0 {
		c.proxy.found = &v1alpha1.KubeProxyStatus{Running: true, Mode: v1alpha1.KubeProxyNFTables, Leftovers: []string{"rules"}}
	}
	c.store.Wake()
	c.step(c.t.Context())
}

// lose has one look find neither kube-proxy nor rules of it; the loop steps.
func (c *changing) lose() {
	c.proxy.serves, c.proxy.found = -1, &v1alpha1.KubeProxyStatus{}
	c.store.Wake()
	c.step(c.t.Context())
}

// wantReleased checks whether our rules are gone, and that this is what is reported.
func (c *changing) wantReleased(when string, want bool) {
	c.t.Helper()
	gone := c.dp == nil && c.installed.Active() == "" && len(c.kernel.Kernel().Frontends) == 0
	status := report.StatusOf(c.last, nil, metav1.Now())
	given := 0
	for _, condition := range status.Conditions {
		if condition.Reason == v1alpha1.ReasonGivenBack {
			given++
		}
	}
	if gone != want || c.last.Released != want || given > 0 != want || want && given != 2 {
		c.t.Errorf("%s: our rules are gone: %v, reported: %v in %d conditions; want %v", when, gone, c.last.Released, given, want)
	}
	verified := status.Revision != nil && status.Revision.Phase == v1alpha1.RevisionVerified
	if want && (!c.last.UpToDate() || !verified || status.AppliedRevision == "" || status.Mode != "" || status.Programmed.Services != 0) {
		c.t.Errorf("%s: status %+v", when, status)
	}
}

// TestGiveBack goes through everything that must be before our rules are removed, and what brings them
// back.
func TestGiveBack(t *testing.T) {
	c := newChanging(t)
	spec := c.list()
	c.store.NodeSynced()
	c.proxy.serves = -settled
	untuned := false
	c.untune = func() error { untuned = true; return nil }
	c.give("r-1", 1, nftablesMode)
	c.verifyNow()
	c.serve(settled)
	c.wantReleased("kube-proxy is left alone", false)
	c.serve(-settled)
	c.givesBack("r-2", 2, nftablesMode)
	c.verifyNow()
	c.wantReleased("kube-proxy has not come", false)
	if !c.proxy.soon {
		t.Error("the next look for kube-proxy is not soon")
	}
	c.serve(1)
	c.wantReleased("in one look", false)
	c.wantKernel(t, spec)
	c.serve(settled)
	c.wantReleased("in two looks", true)
	if c.proxy.soon || untuned {
		t.Errorf("the next look is soon: %v, parameters are set back: %v", c.proxy.soon, untuned)
	}
	c.endpoint(7)
	c.step(t.Context())
	c.serve(-1)
	c.wantReleased("it was away in one look, and a Service has changed", true)
	if !c.proxy.soon {
		t.Error("the second look for kube-proxy is not soon")
	}
	c.serve(-settled)
	c.step(t.Context())
	c.wantReleased("in two looks", false)
	c.wantKernel(t, agenttest.Web("10.96.0.1", "10.244.1.7"))
	c.serve(settled)
	c.wantReleased("it serves again", true)
	c.lose()
	c.step(t.Context())
	c.wantReleased("one look has found not even rules of kube-proxy", false)
	c.serve(settled)
	c.wantReleased("it serves once more", true)

	c.givesBack("r-3", 3, nftablesMode)
	c.step(t.Context())
	c.wantReleased("another revision", false)
	c.verifyNow()
	c.serve(settled)
	c.wantReleased("it is verified", true)
	c.takeOver("r-4", 4, nftablesMode)
	c.step(t.Context())
	c.wantReleased("the node takes over", false)
	c.wantKernel(t, agenttest.Web("10.96.0.1", "10.244.1.7"))
}

// TestGiveBackFails has our rules stay in the kernel at first: that is no giving back, and is tried again.
func TestGiveBackFails(t *testing.T) {
	c := newChanging(t)
	c.list()
	c.store.NodeSynced()
	c.proxy.serves = -settled
	c.givesBack("r-1", 1, nftablesMode)
	c.verifyNow()
	c.kernel.Fail(fake.Cleanup, errors.New("busy"))
	c.serve(settled)
	c.wantProgrammed(t, v1alpha1.ReasonCleanUpFailed)
	if c.retry != cleanupInterval {
		t.Errorf("tries again after %s, want %s", c.retry, cleanupInterval)
	}
	c.kernel.Fail(fake.Cleanup, nil)
	c.step(t.Context())
	c.wantReleased("tried again", true)
	if c.retry != 0 {
		t.Errorf("tries again after %s, want not at all", c.retry)
	}
}

// TestGiveBackBesideIPVS leaves virtual servers that may be those of kube-proxy.
func TestGiveBackBesideIPVS(t *testing.T) {
	c := newChanging(t)
	c.modes.byName(nftablesMode).Inherits = v1alpha1.KubeProxyNFTables // stands for IPVS
	c.list()
	c.store.NodeSynced()
	c.proxy.serves = -settled
	c.givesBack("r-1", 1, nftablesMode)
	c.verifyNow()
	c.serve(settled)
	c.wantReleased("kube-proxy has the same mode", false)
	c.modes.byName(nftablesMode).Inherits = v1alpha1.KubeProxyIPVS
	c.serve(settled)
	c.wantReleased("it has another mode", true)
}

// leaves has the node cleaned up, and given back to kube-proxy.
func (c *changing) leaves() {
	c.generation++
	rules := leaving(c.generation)
	rules.Spec.KubeProxy = v1alpha1.KubeProxyGiveBack
	c.store.SetNode(rules)
	c.step(c.t.Context())
}

// TestCleanUpAwaitsKubeProxy has a node go on until kube-proxy serves it, and only then cleans it up.
func TestCleanUpAwaitsKubeProxy(t *testing.T) {
	c := newChanging(t)
	c.list()
	c.store.NodeSynced()
	c.takeOver("r-1", 1, nftablesMode)
	c.verifyNow()
	c.proxy.serves, c.proxy.soon = settled, false // when it was looked for last, a minute ago
	c.leaves()
	c.wantProgrammed(t, v1alpha1.ReasonProgrammed)
	if !c.last.GivesBack() || !c.proxy.soon {
		t.Errorf("the ports are left: %v, the next look is soon: %v", c.last.GivesBack(), c.proxy.soon)
	}
	c.endpoint(7)
	c.serve(1)
	c.wantProgrammed(t, v1alpha1.ReasonProgrammed)
	c.wantKernel(t, agenttest.Web("10.96.0.1", "10.244.1.7"))

	c.modes.byName(nftablesMode).Inherits = v1alpha1.KubeProxyNFTables // stands for IPVS
	c.serve(settled)
	c.wantProgrammed(t, v1alpha1.ReasonProgrammed)
	c.modes.byName(nftablesMode).Inherits = ""

	c.serve(settled)
	c.wantClean(t)
	c.serve(-settled)
	c.wantClean(t) // for good
	if c.last.GivesBack() || c.proxy.soon {
		t.Errorf("after the clean-up the ports are left: %v, the next look is soon: %v", c.last.GivesBack(), c.proxy.soon)
	}
}

// look has one more look find that kube-proxy serves the node; the loop steps.
func (c *changing) look() { c.serve(min(max(c.proxy.serves, 0)+1, settled)) }

// leavesRevision has the node cleaned up, and given back to kube-proxy, with the revision that it has.
func (c *changing) leavesRevision(name string, second int, modes ...v1alpha1.ProxyMode) {
	c.generation++
	rules := assigned(c.generation, name, second, modes...)
	rules.Spec.CleanUpSince, rules.Spec.KubeProxy = leaving(c.generation).Spec.CleanUpSince, v1alpha1.KubeProxyGiveBack
	c.store.SetNode(rules)
	c.step(c.t.Context())
}

// TestCleanUpAfterReturn cleans a node up that has returned from a revision that gives back: also where the policy
// in use does not.
func TestCleanUpAfterReturn(t *testing.T) {
	for name, give := range map[string]func(*changing, string, int, ...v1alpha1.ProxyMode){
		"kube-proxy was left alone": (*changing).give,
		"the node had taken over":   (*changing).takeOver,
	} {
		t.Run(name, func(t *testing.T) {
			c := newChanging(t)
			c.list()
			c.store.NodeSynced()
			c.proxy.serves, c.proxy.found = -settled, &v1alpha1.KubeProxyStatus{}
			give(c, "r-1", 1, nftablesMode)
			c.verifyNow()
			fail(c.ipvs, fake.Sync, 1000)
			c.givesBack("r-2", 2, ipvsMode)
			c.pass(61)
			c.wantRevision("r-2", v1alpha1.RevisionReverted, "r-1", "")

			c.leavesRevision("r-2", 2, ipvsMode)
			if !c.last.GivesBack() || !c.proxy.soon {
				t.Errorf("the ports are left: %v, the next look is soon: %v", c.last.GivesBack(), c.proxy.soon)
			}
			c.look()
			c.wantReleased("in one look", false)
			c.wantRemoval("kube-proxy is to have the node", false)
			c.look()
			c.wantClean(t)
		})
	}
}

// TestCleanUpOfWhatIsLeft cleans a node up that was given back, where something of ours is still in the kernel:
// kube-proxy has the node, and is not waited for again.
func TestCleanUpOfWhatIsLeft(t *testing.T) {
	c := newChanging(t)
	untuned := 0
	c.untune = func() error { untuned++; return nil }
	c.list()
	c.store.NodeSynced()
	c.proxy.serves = -settled
	c.givesBack("r-1", 1, nftablesMode)
	c.verifyNow()
	c.kernel.Fail(fake.Cleanup, errors.New("busy"), errors.New("busy"))
	c.serve(settled)
	c.wantProgrammed(t, v1alpha1.ReasonCleanUpFailed)
	c.leavesRevision("r-1", 1, nftablesMode)
	c.wantProgrammed(t, v1alpha1.ReasonCleanUpFailed)
	c.step(t.Context())
	c.wantClean(t)
	if untuned != 1 {
		t.Errorf("parameters are set back %d times, want once", untuned)
	}
	c.givesBack("r-1", 1, nftablesMode)
	c.step(t.Context())
	c.wantReleased("the clean-up is withdrawn", false)
	c.verifyNow()
	c.serve(settled)
	c.wantReleased("the revision is verified", true)
}

// TestGiveBackAfterRestart starts an agent on a node that was given back, with kube-proxy and without, and
// on one that was not.
func TestGiveBackAfterRestart(t *testing.T) {
	for name, c := range map[string]struct {
		serves    int // at the first step
		installed bool
		released  bool
	}{
		"kube-proxy serves it":           {1, false, true},
		"kube-proxy does not":            {-settled, false, false},
		"not given back yet, one look":   {1, true, false},
		"not given back yet, no look":    {0, true, false},
		"it has not been looked for yet": {0, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			before := newChanging(t)
			before.list()
			before.store.NodeSynced()
			before.proxy.serves = -settled
			before.givesBack("r-1", 1, nftablesMode)
			before.verifyNow()

			after := newChanging(t)
			after.verify.state = before.verify.state
			if c.installed {
				if err := after.installed.Add(nftablesMode); err != nil {
					t.Fatal(err)
				}
			}
			after.list()
			after.store.NodeSynced()
			if after.proxy.serves = c.serves; c.serves > 0 {
				after.proxy.found = &v1alpha1.KubeProxyStatus{Running: true}
			}
			after.givesBack("r-1", 1, nftablesMode)
			waits := c.serves == 0 && !c.installed
			if waits && (after.last.Released || after.last.Programmed != nil) {
				t.Error("reports that kube-proxy serves the node, or what is programmed, before the first look")
			} else if !waits {
				after.wantReleased("after the first step", c.released)
			}
			if got := after.kernel.Count(fake.Sync) > 0; got != (!c.released && !waits) {
				t.Errorf("programmed: %v", got)
			}
			after.serve(-settled)
			after.step(t.Context())
			after.wantReleased("kube-proxy does not serve it", false)
			if after.dp == nil {
				t.Error("nothing is programmed")
			}
		})
	}
}

// writtenParameters notes whether any was set.
type writtenParameters struct {
	sysctl.Tree
	set bool
}

func (p *writtenParameters) Set(name, value string) error {
	p.set = true
	return p.Tree.Set(name, value)
}

// TestKeepRouteLocalnetFails checks that a parameter that cannot be read is an error.
func TestKeepRouteLocalnetFails(t *testing.T) {
	h := newChanging(t)
	h.proxy.found = &v1alpha1.KubeProxyStatus{Running: true, Mode: v1alpha1.KubeProxyIPTables}
	written := &writtenParameters{Tree: sysctl.Tree{Root: t.TempDir()}}
	if err := h.kubeProxy.keepRouteLocalnet(written)(); !errors.Is(err, fs.ErrNotExist) || written.set {
		t.Errorf("error %v, written: %v", err, written.set)
	}
}

// routeLocalnetTree returns parameters that only have route_localnet, and what sets that.
func routeLocalnetTree(t *testing.T) (tree sysctl.Tree, set func(value string)) {
	t.Helper()
	tree = sysctl.Tree{Root: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(tree.Root, filepath.Dir(routeLocalnet)), 0o700); err != nil {
		t.Fatal(err)
	}
	return tree, func(value string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(tree.Root, routeLocalnet), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKeepRouteLocalnet checks that node ports on localhost of a kube-proxy in its mode iptables stay.
func TestKeepRouteLocalnet(t *testing.T) {
	for name, c := range map[string]struct {
		mode         v1alpha1.KubeProxyMode
		before, want string
	}{
		"iptables":           {v1alpha1.KubeProxyIPTables, "1", "1"},
		"iptables, it was 0": {v1alpha1.KubeProxyIPTables, "0", "0"},
		"nftables":           {v1alpha1.KubeProxyNFTables, "1", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newChanging(t)
			tree, set := routeLocalnetTree(t)
			h.proxy.found = &v1alpha1.KubeProxyStatus{Running: true, Mode: c.mode}
			set(c.before)
			written := &writtenParameters{Tree: tree}
			keep := h.kubeProxy.keepRouteLocalnet(written)
			set("0") // as our modes do
			if err := keep(); err != nil {
				t.Fatal(err)
			}
			if changes := c.want == "1"; written.set != changes {
				t.Errorf("written: %v, want %v", written.set, changes)
			}
			if got, err := tree.Get(routeLocalnet); got != c.want || err != nil {
				t.Errorf("%q, want %q (%v)", got, c.want, err)
			}
		})
	}
}
