// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// restarted is a loop that has just started on a node where an earlier one has left modes,
// the active one first.
func restarted(t *testing.T, modes ...v1alpha1.ProxyMode) *changing {
	t.Helper()
	c := newChanging(t)
	for _, mode := range modes {
		if err := c.installed.Add(mode); err != nil {
			t.Fatal(err)
		}
	}
	c.store.NodeSynced()
	return c
}

// list gives the loop the Services of the API.
func (c *changing) list() *v1alpha1.ServiceRuleSliceSpec {
	spec := agenttest.Web("10.96.0.1", "10.244.1.2")
	c.store.ReplaceSlices(agenttest.Listed(spec), true)
	return spec
}

// The mode of an earlier agent follows all changes until the one that the policy asks for
// is programmed, and hands over to it.
func TestRestartWithAnotherMode(t *testing.T) {
	c := restarted(t, nftablesMode)
	const failures = 2
	fail(c.ipvs, fake.Sync, failures)
	spec := c.list()
	c.ask(ipvsMode)
	for i := range failures {
		c.wantKernel(t, spec)
		if c.last.Mode() != nftablesMode || c.last.Programmed.Node != nil || c.last.Problem(report.ModeChangeFailed) == nil {
			t.Errorf("reports %+v, problems %v", c.last.Programmed, c.last.Problems)
		}
		status := report.StatusOf(c.last, nil, metav1.Now())
		if status.ObservedGeneration != 0 || status.Policy != nil {
			t.Errorf("reports the generation %d of %v", status.ObservedGeneration, status.Policy)
		}
		if c.installed.Active() != nftablesMode {
			t.Errorf("notes that %s is active", c.installed.Active())
		}
		spec = c.endpoint(10 + i)
		c.step(t.Context())
		c.wantKernel(t, spec)
		c.wait()
	}
	c.wantActive(ipvsMode, 2)
	if c.last.Problems != nil || c.installed.Active() != ipvsMode || c.last.Repairs.Count != 0 {
		t.Errorf("problems %v, notes that %s is active, repairs %+v", c.last.Problems, c.installed.Active(), c.last.Repairs)
	}
	if c.ipvs.Count(fake.Incoming) != 1 || c.kernel.Count(fake.Outgoing) != 1 || c.kernel.Count(fake.Cleanup) != 1 {
		t.Errorf("calls of the old mode %v", c.kernel.Calls())
	}
}

// What happens in the first step with the mode of an earlier agent.
func TestModeOfAnEarlierAgent(t *testing.T) {
	for name, tc := range map[string]struct {
		left   []v1alpha1.ProxyMode // the active one first
		before func(*changing)
		ask    []v1alpha1.ProxyMode
		active v1alpha1.ProxyMode
		calls  []fake.Method // of NFTables
	}{
		"there is none": {nil, nil, []v1alpha1.ProxyMode{ipvsMode}, ipvsMode, []fake.Method{fake.Probe, fake.Close}}, // what the kernel can do
		"it is asked for": {[]v1alpha1.ProxyMode{nftablesMode}, nil, []v1alpha1.ProxyMode{nftablesMode}, nftablesMode,
			[]fake.Method{fake.Probe, fake.Sync}},
		"another is asked for": {[]v1alpha1.ProxyMode{nftablesMode}, nil, []v1alpha1.ProxyMode{ipvsMode}, ipvsMode,
			[]fake.Method{fake.Probe, fake.Sync, fake.Outgoing, fake.Released, fake.Cleanup, fake.Close}},
		"one that was not active yet is asked for": {[]v1alpha1.ProxyMode{nftablesMode, ipvsMode}, nil, []v1alpha1.ProxyMode{ipvsMode}, ipvsMode,
			[]fake.Method{fake.Probe, fake.Sync, fake.Outgoing, fake.Released, fake.Cleanup, fake.Close}},
		"it waited for its last connections": {[]v1alpha1.ProxyMode{ipvsMode, nftablesMode}, nil, []v1alpha1.ProxyMode{ipvsMode}, ipvsMode,
			[]fake.Method{fake.Released, fake.Cleanup, fake.Close, fake.Probe, fake.Close}},
		"none of those asked for can run": {[]v1alpha1.ProxyMode{nftablesMode},
			func(c *changing) { c.ipvs.Fail(fake.Probe, errNoModule) }, []v1alpha1.ProxyMode{ipvsMode}, nftablesMode,
			[]fake.Method{fake.Probe, fake.Sync}},
		"it cannot run any more": {[]v1alpha1.ProxyMode{nftablesMode},
			func(c *changing) { c.kernel.Fail(fake.Probe, errors.New("no memory")) }, []v1alpha1.ProxyMode{ipvsMode}, ipvsMode,
			[]fake.Method{fake.Probe, fake.Close, fake.Released, fake.Cleanup, fake.Close}},
		"it cannot be programmed any more": {[]v1alpha1.ProxyMode{nftablesMode},
			func(c *changing) { fail(c.kernel, fake.Sync, 1) }, []v1alpha1.ProxyMode{ipvsMode}, ipvsMode,
			[]fake.Method{fake.Probe, fake.Sync, fake.Outgoing, fake.Released, fake.Cleanup, fake.Close}},
	} {
		t.Run(name, func(t *testing.T) {
			c := restarted(t, tc.left...)
			if tc.before != nil {
				tc.before(c)
			}
			spec := c.list()
			c.ask(tc.ask...)
			var calls []fake.Method
			for _, call := range c.kernel.Calls() {
				calls = append(calls, call.Method)
			}
			if diff := cmp.Diff(tc.calls, calls); diff != "" {
				t.Errorf("calls of NFTables (-want +got):\n%s", diff)
			}
			if c.last.Mode() != tc.active || c.installed.Active() != tc.active {
				t.Errorf("%s is active, the file says %s; want %s", c.last.Mode(), c.installed.Active(), tc.active)
			}
			if tc.active == nftablesMode {
				c.wantKernel(t, spec)
			}
		})
	}
}

// A mode that an earlier agent had active, and that is the candidate of this one, follows
// changes if the policy asks for another mode before it is programmed.
func TestPolicyChangesBeforeTheFirstSync(t *testing.T) {
	c := restarted(t, nftablesMode)
	fail(c.kernel, fake.Sync, 1)
	fail(c.ipvs, fake.Sync, 1)
	c.list()
	c.ask(nftablesMode)
	spec := c.endpoint(3)
	c.ask(ipvsMode)
	c.wantKernel(t, spec)
	if c.last.Mode() != nftablesMode || c.kernel.Watchers() > 1 {
		t.Errorf("%s is active, %d watch", c.last.Mode(), c.kernel.Watchers())
	}
	c.wait()
	c.wantActive(ipvsMode, 3)
}

// The file says after each change which mode is active.
func TestActiveModeIsStored(t *testing.T) {
	dir := t.TempDir()
	c := restarted(t)
	var err error
	if c.installed, err = state.OpenInstalledModes(dir); err != nil {
		t.Fatal(err)
	}
	c.kernel.Wait, c.ipvs.Wait = time.Second, time.Second // both stay in the file
	c.list()
	for _, mode := range []v1alpha1.ProxyMode{nftablesMode, ipvsMode, nftablesMode} {
		c.ask(mode)
		stored, err := state.OpenInstalledModes(dir)
		if err != nil || stored.Active() != mode || c.last.Mode() != mode {
			t.Errorf("%s is stored and %s is active, want %s; error %v", stored.Active(), c.last.Mode(), mode, err)
		}
	}
}
