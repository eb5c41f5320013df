// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

import (
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// TestRevisions checks the revisions in the status; which one is stable is decided in
// rules/rollout.
func TestRevisions(t *testing.T) {
	const healthy, degraded, unknown = "Degraded=False/Healthy", "Degraded=True/ListenFailed", "Degraded=Unknown/Pending"
	two := func() *fixture { return newFixture(everywhere).node("a", true).node("b", true) }
	applied := func(f *fixture, revisions ...string) *fixture {
		for i, name := range []string{"a", "b"} {
			f.in.sets[name].Status.AppliedRevision = revisions[i]
		}
		f.in.configs[0].Status.StableRevision = "before"
		return f
	}
	for name, c := range map[string]struct {
		fixture *fixture
		stable  string
	}{
		"both have it":              {applied(two().set("a", 7, good, healthy).set("b", 7, good, healthy), "new", "new"), "new"},
		"one has it":                {applied(two().set("a", 7, good, healthy).set("b", 7, good, healthy), "new", "old"), "before"},
		"one is degraded":           {applied(two().set("a", 7, good, healthy).set("b", 7, good, degraded), "new", "new"), "before"},
		"one has not reported":      {applied(two().set("a", 7, good, healthy).set("b", 0, unknown), "new", ""), "new"},
		"one's agent is silent":     {applied(two().set("a", 7, good, healthy).set("b", 7, good, healthy).silent("b", time.Hour), "new", "new"), "before"},
		"one has an older agent":    {applied(two().set("a", 7, good, healthy).set("b", 7, good, healthy), "new", ""), "before"},
		"one is not ready":          {applied(newFixture(everywhere).node("a", true).node("b", false).set("a", 7, good, healthy).set("b", 7, good, healthy), "new", "old"), "new"},
		"one has another policy's":  {policyOf(applied(two().set("a", 7, good, healthy).set("b", 7, good, healthy), "new", "new"), "b", "other"), "before"},
		"both have another's still": {policyOf(policyOf(applied(two().set("a", 7, good, healthy).set("b", 7, good, healthy), "x", "x"), "a", "other"), "b", "other"), "before"},
		"no NodeRuleSets yet":       {two(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.fixture.status()
			if got.StableRevision != c.stable {
				t.Errorf("stable is %q, want %q", got.StableRevision, c.stable)
			}
			if want := rollout.RevisionOf(c.fixture.in.config).Name; got.TargetRevision != want {
				t.Errorf("target is %q, want %q", got.TargetRevision, want)
			}
		})
	}
}

// policyOf has a node report another policy.
func policyOf(f *fixture, node, policy string) *fixture {
	f.in.sets[node].Status.Policy = &v1alpha1.PolicyReference{Name: policy, Generation: 1}
	return f
}
