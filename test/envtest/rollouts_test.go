// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

func number(n int32) *intstr.IntOrString { return ptr.To(intstr.FromInt32(n)) }

// TestRolloutSucceeds follows a changed policy through its stages.
func TestRolloutSucceeds(t *testing.T) {
	s := newStaging(t, oneByOne(), "a", "b", "c")
	s.change("2", mode(v1alpha1.ModeIPTables))
	s.pass(time.Second)
	s.wants("", "a=1+ b=1+ c=1+") // made, and nothing more
	s.pass(time.Second)
	s.wants("Pending", "a=1+ b=1+ c=1+")
	s.pass(time.Second)
	s.wants("Updating canary", "a=2+ b=1+ c=1+")
	if set := ruleSet(t, "b"); set.Spec.Mode != v1alpha1.ModeNFTables {
		t.Errorf("a node that waits has the mode %s", set.Spec.Mode)
	}
	s.pass(time.Second)
	s.wants("Soaking canary", "a=2+ b=1+ c=1+")
	s.pass(20 * time.Second)
	s.wants("Soaking canary", "a=2+ b=1+ c=1+")
	if got := s.reload().Status; got.Rollout == nil || got.Rollout.Stage != "canary" || s.labels[got.StableRevision] != "1" || s.labels[got.TargetRevision] != "2" {
		t.Errorf("status of the ProxyConfig: %+v", got.Rollout)
	}
	s.pass(10 * time.Second)
	s.wants("Updating rest", "a=2+ b=2+ c=1+")
	s.pass(time.Second)
	s.wants("Updating rest", "a=2+ b=2+ c=2+")
	s.pass(time.Second)
	s.wants("Succeeded", "a=2+ b=2+ c=2+")
	s.pass(time.Second)
	o := s.current()
	want := []v1alpha1.RolloutStageStatus{{Name: "canary", Total: 1, Updated: 3, Verified: 3}, {Name: "rest", Total: 3, Updated: 3, Verified: 3}}
	for i := range o.Status.Stages {
		if o.Status.Stages[i].StartTime == nil {
			t.Errorf("stage %s has not begun", o.Status.Stages[i].Name)
		}
		o.Status.Stages[i].StartTime = nil
	}
	if diff := cmp.Diff(want, o.Status.Stages); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	for kind, want := range map[string]bool{"Prechecked": true, "Soaked": true, "Succeeded": true, "RolledBack": false, "Progressing": false} {
		if got := apimeta.IsStatusConditionTrue(o.Status.Conditions, kind); got != want {
			t.Errorf("condition %s is %v", kind, got)
		}
	}
	got := s.reload().Status
	if got.Rollout == nil || got.Rollout.Phase != v1alpha1.RolloutSucceeded || s.labels[got.StableRevision] != "2" {
		t.Errorf("stable %s, rollout %+v", s.labels[got.StableRevision], got.Rollout)
	}
	row := strings.Join(strings.Fields(kubectl(t, "get", "proxyrollout", o.Name)), " ")
	if want := "NAME CONFIG PHASE STAGE NODES UPDATED VERIFIED FAILED AGE " + o.Name + " staged Succeeded 3 3 3 0 "; !strings.HasPrefix(row, want) {
		t.Errorf("columns %q, want %q", row, want)
	}
	s.view.writes = nil
	s.pass(time.Second)
	if len(s.view.writes) > 0 {
		t.Errorf("it has ended, and there are writes: %v", s.view.writes)
	}
	for _, want := range []string{"RolloutUpdating", "RolloutSoaking", "RolloutSucceeded"} {
		if !strings.Contains(strings.Join(s.events, "\n"), want) {
			t.Errorf("no event %s: %q", want, s.events)
		}
	}
}

// TestRolloutFails has a canary fail, and tries it again.
func TestRolloutFails(t *testing.T) {
	for name, f := range map[string]fate{"reverts": reverts, "hangs": hangs} {
		t.Run(name, func(t *testing.T) {
			options := oneByOne()
			options.Checks = []v1alpha1.RolloutCheck{{Name: "dns", Service: "kube-system/kube-dns", Port: 53}}
			s := newStaging(t, options, "a", "b", "c")
			checks := func(want int) {
				t.Helper()
				if got := s.sets()["a"].Spec.Checks; len(got) != want {
					t.Errorf("the canary makes the checks %+v, want %d", got, want)
				}
			}
			s.fates["2"] = map[string]fate{"a": f}
			s.change("2", mode(v1alpha1.ModeIPTables))
			s.passes(3)
			if f == hangs {
				s.pass(62 * time.Second) // its agent has five seconds more, to say it first
				s.wants("Verifying canary", "a=2? b=1+ c=1+")
				s.pass(3 * time.Second)
			} else {
				s.wants("Updating canary", "a=2x b=1+ c=1+")
				checks(1)
				s.pass(time.Second)
			}
			s.wants("RollingBack", "a=1+ b=1+ c=1+")
			s.pass(time.Second)
			s.wants("RolledBack", "a=1+ b=1+ c=1+")
			s.pass(time.Hour)
			s.wants("RolledBack", "a=1+ b=1+ c=1+")
			checks(0) // it returns whatever they say
			o := s.current()
			if len(o.Status.FailedNodes) != 1 || o.Status.FailedNodes[0].Name != "a" || o.Status.Verdict != v1alpha1.VerdictFailed {
				t.Errorf("failed nodes %+v, verdict %s", o.Status.FailedNodes, o.Status.Verdict)
			}
			c := apimeta.FindStatusCondition(s.reload().Status.Conditions, v1alpha1.ConditionDegraded)
			if c.Status != "True" || c.Reason != v1alpha1.ReasonRolloutFailing || !strings.Contains(c.Message, "; a: "+o.Status.FailedNodes[0].Reason) {
				t.Errorf("condition %+v", c)
			}
			if p := apimeta.FindStatusCondition(s.config.Status.Conditions, v1alpha1.ConditionProgressing); p.Status != "False" || p.Reason != "RolloutRolledBack" {
				t.Errorf("condition %+v", p)
			}

			s.says(state(v1alpha1.StateRetry))
			s.pass(time.Second)
			s.wants("Updating canary", strings.Replace("a=2x b=1+ c=1+", "x", map[fate]string{reverts: "x", hangs: "?"}[f], 1))
			s.pass(65 * time.Second)
			s.pass(time.Second)
			s.wants("RolledBack", "a=1+ b=1+ c=1+") // and not again
			s.passes(3)
			s.wants("RolledBack", "a=1+ b=1+ c=1+")

			s.fates["2"] = nil
			s.says(state(v1alpha1.StateRun))
			s.pass(time.Second)
			s.wants("RolledBack", "a=1+ b=1+ c=1+")
			s.says(state(v1alpha1.StateRetry))
			s.passes(2)
			s.wants("Soaking canary", "a=2+ b=1+ c=1+")
			checks(1)
			s.pass(30 * time.Second)
			s.passes(2)
			s.wants("Succeeded", "a=2+ b=2+ c=2+")
		})
	}
}

// TestRolloutKept keeps a failed rollout as it is, until a person undoes it.
func TestRolloutKept(t *testing.T) {
	s := newStaging(t, oneByOne(func(o *v1alpha1.RolloutOptions) { o.OnFailure = v1alpha1.OnFailurePause }), "a", "b")
	s.fates["2"] = map[string]fate{"a": reverts}
	s.change("2", mode(v1alpha1.ModeIPTables))
	s.passes(5)
	s.wants("Paused", "a=2x b=1+")
	s.says(state(v1alpha1.StateAbort))
	s.passes(2)
	s.wants("RolledBack", "a=1+ b=1+")
	if o := s.current(); o.Status.Verdict != v1alpha1.VerdictAborted {
		t.Errorf("verdict %s", o.Status.Verdict)
	}
}

// TestRolloutIsTold has a person pause, go on, approve and abort.
func TestRolloutIsTold(t *testing.T) {
	s := newStaging(t, oneByOne(func(o *v1alpha1.RolloutOptions) { o.Stages[0].Approval = v1alpha1.ApprovalRequired }), "a", "b", "c")
	s.change("2", mode(v1alpha1.ModeIPTables))
	s.passes(2)
	s.says(state(v1alpha1.StatePause))
	s.passes(2)
	s.wants("Paused canary", "a=1+ b=1+ c=1+")
	s.says(state(v1alpha1.StateRun))
	s.passes(2)
	s.wants("Soaking canary", "a=2+ b=1+ c=1+")
	s.pass(time.Minute)
	s.wants("AwaitingApproval canary", "a=2+ b=1+ c=1+")
	s.pass(time.Hour) // it waits for as long as it takes
	s.wants("AwaitingApproval canary", "a=2+ b=1+ c=1+")
	s.says(func(spec *v1alpha1.ProxyRolloutSpec) { spec.ApprovedStages = []string{"canary"} })
	s.pass(time.Second)
	s.wants("Updating rest", "a=2+ b=2+ c=1+")
	s.change("2", func(spec *v1alpha1.ProxyConfigSpec) { spec.Rollout.Paused = ptr.To(true) })
	s.passes(2)
	s.wants("Paused rest", "a=2+ b=2+ c=1+")
	s.says(state(v1alpha1.StateAbort))
	s.pass(time.Second)
	s.wants("RollingBack", "a=1+ b=2+ c=1+") // one after the other
	s.pass(time.Second)
	s.wants("RollingBack", "a=1+ b=1+ c=1+")
	s.pass(time.Second)
	s.wants("RolledBack", "a=1+ b=1+ c=1+")
}

// TestRolloutIsPromoted leaves out what a stage waits for.
func TestRolloutIsPromoted(t *testing.T) {
	s := newStaging(t, oneByOne(func(o *v1alpha1.RolloutOptions) { o.Stages[0].Approval = v1alpha1.ApprovalRequired }), "a", "b")
	s.change("2", mode(v1alpha1.ModeIPTables))
	s.passes(4)
	s.wants("Soaking canary", "a=2+ b=1+")
	s.says(state(v1alpha1.StatePromote))
	s.passes(2)
	s.wants("Succeeded", "a=2+ b=2+")
}

// TestRolloutIsSuperseded changes the policy in the middle: the nodes go from where they are,
// and return to what was stable.
func TestRolloutIsSuperseded(t *testing.T) {
	s := newStaging(t, oneByOne(), "a", "b", "c")
	s.change("2", mode(v1alpha1.ModeIPTables))
	s.passes(4)
	s.wants("Soaking canary", "a=2+ b=1+ c=1+")
	s.fates["3"] = map[string]fate{"a": reverts}
	s.change("3", mode(v1alpha1.ModeUserspace))
	s.passes(3)
	s.wants("Updating canary", "a=3x b=1+ c=1+")
	if o := s.named(s.labelled("2")); o.Status.Phase != v1alpha1.RolloutSuperseded || o.Status.Verdict != "" {
		t.Errorf("the first one is %s, %s", o.Status.Phase, o.Status.Verdict)
	}
	s.passes(2)
	s.wants("RolledBack", "a=1+ b=1+ c=1+")

	// The policy before, which is stable.
	s.change("1", mode(v1alpha1.ModeNFTables))
	s.passes(2)
	s.wants("", "a=1+ b=1+ c=1+")
	if got := s.reload().Status; got.Rollout != nil || s.labels[got.StableRevision] != "1" {
		t.Errorf("rollout %+v, stable %s", got.Rollout, s.labels[got.StableRevision])
	}
	if c := apimeta.FindStatusCondition(s.config.Status.Conditions, v1alpha1.ConditionDegraded); c.Status != "False" {
		t.Errorf("condition %+v", c)
	}

	// One that has failed is tried again after another one.
	s.fates["3"] = nil
	s.change("3", mode(v1alpha1.ModeUserspace))
	s.passes(5)
	s.wants("Soaking canary", "a=3+ b=1+ c=1+")

	// And without stages.
	s.change("2", func(spec *v1alpha1.ProxyConfigSpec) {
		spec.Mode, spec.Rollout = v1alpha1.ModeIPTables, v1alpha1.RolloutOptions{Strategy: v1alpha1.AllAtOnce}
	})
	s.passes(2)
	s.wants("Superseded", "a=2+ b=2+ c=2+")
	if got := s.reload().Status.Rollout; got != nil {
		t.Errorf("rollout %+v", got)
	}
}

// TestRolloutHistory keeps as many rollouts as the limit says.
func TestRolloutHistory(t *testing.T) {
	s := newStaging(t, v1alpha1.RolloutOptions{MaxUnavailable: number(1)}, "a")
	s.change("1", func(spec *v1alpha1.ProxyConfigSpec) { spec.RevisionHistoryLimit = ptr.To[int32](1) })
	s.change("2", mode(v1alpha1.ModeIPTables))
	s.passes(4)
	s.wants("Soaking canary", "a=2+")
	s.change("3", mode(v1alpha1.ModeUserspace))
	s.passes(4)
	s.change("4", mode(v1alpha1.ModeIPVS))
	s.passes(5)
	s.wants("Soaking canary", "a=4+")
	if s.named(s.labelled("2")) != nil || s.named(s.labelled("3")) == nil {
		t.Error("the limit is 1, and the oldest is to go")
	}
}

// TestRolloutAndNodes has nodes come, go and change in the middle: they never wait.
func TestRolloutAndNodes(t *testing.T) {
	s := newStaging(t, oneByOne(), "a", "b")
	s.setReady("a", false)
	s.change("2", mode(v1alpha1.ModeIPTables))
	s.passes(4)
	s.wants("Soaking canary", "a=1+ b=2+")
	if got := s.current().Status.SkippedNodes; len(got) != 1 || got[0] != "a" {
		t.Errorf("skipped nodes %v", got)
	}
	s.nodes = append(s.nodes, "c")
	s.addNode("c")
	s.pass(time.Second)
	s.wants("Soaking canary", "a=1+ b=2+ c=1+")
	if set := ruleSet(t, "c"); set.Spec.Mode != v1alpha1.ModeNFTables {
		t.Errorf("a new node has the mode %s", set.Spec.Mode)
	}
	n := node("b")
	if err := api.Get(t.Context(), objectKey("b"), n); err != nil {
		t.Fatal(err)
	}
	n.Labels["topology.kubernetes.io/zone"] = "z"
	update(t, n)
	before := ruleSet(t, "b").Spec
	s.pass(time.Second)
	if got := ruleSet(t, "b").Spec; got.Node.Zone != "z" || got.Revision != before.Revision || !got.AssignedTime.Equal(before.AssignedTime) {
		t.Errorf("zone %s, revision %s since %s", got.Node.Zone, got.Revision, got.AssignedTime)
	}
	s.pass(30 * time.Second)
	s.passes(2)
	s.wants("Succeeded", "a=2+ b=2+ c=2+") // and a, which is not ready, has nothing to lose
}

// TestRolloutIsBlocked checks that no node is touched before all can run the revision.
func TestRolloutIsBlocked(t *testing.T) {
	s := newStaging(t, oneByOne(), "a", "b")
	able := func(supported bool) {
		set := ruleSet(t, "b")
		set.Status.Capabilities = []v1alpha1.ModeCapability{{Mode: v1alpha1.ModeIPTables, Supported: supported, Message: "no iptables"}}
		s.writeStatus(set)
	}
	able(false)
	s.change("2", mode(v1alpha1.ModeIPTables))
	s.passes(4)
	s.wants("Blocked", "a=1+ b=1+")
	c := apimeta.FindStatusCondition(s.current().Status.Conditions, v1alpha1.ConditionPrechecked)
	if c.Status != "False" || !strings.Contains(c.Message, "b: IPTables: no iptables") {
		t.Errorf("condition %+v", c)
	}
	able(true)
	s.pass(time.Second)
	s.wants("Updating canary", "a=2+ b=1+")
}

// TestRolloutWithoutRevision checks that a rollout does not begin that could not be undone, and what
// becomes of nodes whose revision is gone.
func TestRolloutWithoutRevision(t *testing.T) {
	s := newStaging(t, oneByOne(), "a", "b")
	s.change("2", mode(v1alpha1.ModeIPTables))
	s.passes(1)
	first := storedRevision(t, s.labelled("1"))
	remove(t, first)
	s.passes(3)
	s.wants("Blocked", "a=1+ b=1+")
	if !strings.Contains(strings.Join(s.events, "\n"), v1alpha1.EventRevisionUnusable) {
		t.Errorf("no event: %q", s.events)
	}
	if set := ruleSet(t, "a"); set.Spec.Mode != v1alpha1.ModeNFTables {
		t.Errorf("the node has lost its mode: %s", set.Spec.Mode)
	}
	first.ResourceVersion, first.UID = "", ""
	good := first.Data.Raw
	first.Data.Raw = []byte(strings.Replace(string(good), "NFTables", "IPVS", 1))
	create(t, first)
	s.passes(2)
	s.wants("Blocked", "a=1+ b=1+")
	if set := ruleSet(t, "a"); set.Spec.Mode != v1alpha1.ModeNFTables {
		t.Errorf("the node has the altered mode %s", set.Spec.Mode)
	}
	remove(t, first)
	first.ResourceVersion, first.UID, first.Data.Raw = "", "", good
	create(t, first)
	s.passes(1)
	s.wants("Updating canary", "a=2+ b=1+")
}
