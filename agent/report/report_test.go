// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// returned makes the node have returned to the revision before.
func returned(s *Snapshot) {
	rules, p := *s.Node, *s.Programmed
	rules.Spec.Revision = "default-1"
	p.Node = &rules
	s.Rules, s.Programmed, s.Problems = &rules, &p, []Problem{{RevisionReverted, errors.New("trouble")}}
}

func TestStatus(t *testing.T) {
	trouble := errors.New("trouble")
	but := func(change func(s *Snapshot)) Snapshot {
		s := good()
		change(&s)
		return s
	}
	cases := map[string]struct {
		snapshot Snapshot
		want     map[string]string // condition type: status/reason
	}{
		"all is well": {good(), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "True/Programmed", "Degraded": "False/Healthy"}},
		"before the first programming": {but(func(s *Snapshot) { s.Programmed = nil }), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "Unknown/Programming", "Degraded": "False/Healthy"}},
		"the kernel refuses": {with(Problem{KernelError, trouble}), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "False/KernelError", "Degraded": "True/KernelError"}},
		"the kernel cannot run the mode": {but(func(s *Snapshot) { s.Programmed, s.Problems = nil, []Problem{{ModeUnsupported, trouble}} }), map[string]string{
			"Accepted": "False/ModeUnsupported", "Programmed": "False/ModeUnsupported", "Degraded": "True/ModeUnsupported"}},
		"the kernel cannot run the new mode": {but(func(s *Snapshot) { s.Node, s.Problems = testNodeRules(2), []Problem{{ModeUnsupported, trouble}} }), map[string]string{
			"Accepted": "False/ModeUnsupported", "Programmed": "False/Programming", "Degraded": "True/ModeUnsupported"}},
		"on stored rules": {but(func(s *Snapshot) { s.FromAPI = false }), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "True/FromCheckpoint", "Degraded": "False/Healthy"}},
		"a new generation is not programmed": {but(func(s *Snapshot) { s.Node = testNodeRules(2) }), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "False/Programming", "Degraded": "False/Healthy"}},
		"the policy before is active again": {but(returned), map[string]string{
			"Accepted": "False/RevisionReverted", "Programmed": "False/RevisionReverted", "Degraded": "True/RevisionReverted"}},
		"the policy before is not programmed yet": {but(func(s *Snapshot) { programmed := s.Programmed.Node; returned(s); s.Programmed.Node = programmed }), map[string]string{
			"Accepted": "False/RevisionReverted", "Programmed": "False/Programming", "Degraded": "True/RevisionReverted"}},
		"the policy before, on stored rules": {but(func(s *Snapshot) { returned(s); s.FromAPI = false }), map[string]string{
			"Accepted": "False/RevisionReverted", "Programmed": "True/FromCheckpoint", "Degraded": "True/RevisionReverted"}},
		"malformed slices": {with(Problem{SkippedRules, trouble}), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "True/Programmed", "Degraded": "True/SkippedRules"}},
		"malformed settings": {with(Problem{InvalidSettings, trouble}), map[string]string{
			"Accepted": "False/Invalid", "Programmed": "True/Programmed", "Degraded": "False/Healthy"}},
		"something cannot be done here": {but(func(s *Snapshot) { s.Limitations = []dataplane.Limitation{{Message: trouble.Error()}} }), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "True/Programmed", "Degraded": "True/PartlyProgrammed"}},
		"the rules of a previous mode are left": {with(Problem{PreviousModeCleanup, trouble}), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "True/Programmed", "Degraded": "True/PreviousModeCleanupFailed"}},
		"the disk is full": {with(Problem{JournalFailed, trouble}), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "True/Programmed", "Degraded": "True/CheckpointFailed"}},
		"the node is cleaned up": {but(leaving), map[string]string{
			"Accepted": "False/NotSelected", "Programmed": "False/CleanedUp", "Degraded": "False/Healthy"}},
		"the node cannot be cleaned up": {but(func(s *Snapshot) { leaving(s); s.Problems = []Problem{{NodeCleanup, trouble}} }), map[string]string{
			"Accepted": "False/NotSelected", "Programmed": "False/CleanUpFailed", "Degraded": "True/CleanUpFailed"}},
		"the API has not asked for a clean-up yet": {but(func(s *Snapshot) { leaving(s); s.FromAPI = false }), map[string]string{
			"Accepted": "False/NotSelected", "Programmed": "Unknown/FromCheckpoint", "Degraded": "False/Healthy"}},
		"it is cleaned up when kube-proxy serves it": {but(func(s *Snapshot) {
			leaving(s)
			s.Programmed, s.AwaitsKubeProxy = &Programmed{Node: s.Node}, true
		}), map[string]string{"Accepted": "False/NotSelected", "Programmed": "True/Programmed", "Degraded": "False/Healthy", "KubeProxyReplaced": "Unknown/KubeProxyUnknown"}},
		"a fallback mode": {with(Problem{FallbackMode, trouble}), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "True/Programmed", "Degraded": "True/FallbackMode"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			for _, c := range StatusOf(tc.snapshot, nil, metav1.Now()).Conditions {
				got[c.Type] = string(c.Status) + "/" + c.Reason
				if c.Message == "" || c.ObservedGeneration != tc.snapshot.Node.Generation {
					t.Errorf("%s has no message or its generation: %+v", c.Type, c)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// leaving makes the node one that is to be cleaned up.
func leaving(s *Snapshot) {
	node := *s.Node
	node.Spec.CleanUpSince = &metav1.Time{Time: time.Unix(1000, 0)}
	s.Node, s.Programmed = &node, nil
}

// TestStatusOfKubeProxy checks that what is found of kube-proxy is part of the status, and written
// at once: a takeover waits for it.
func TestStatusOfKubeProxy(t *testing.T) {
	s := good()
	before := StatusOf(s, nil, metav1.Time{})
	s.KubeProxy = &v1alpha1.KubeProxyStatus{Running: true, Mode: v1alpha1.KubeProxyIPVS, Leftovers: []string{"some"}}
	after := StatusOf(s, nil, metav1.Time{})
	if diff := cmp.Diff(s.KubeProxy, after.KubeProxy); diff != "" || before.KubeProxy != nil {
		t.Errorf("before %v; after (-want +got):\n%s", before.KubeProxy, diff)
	}
	if got := changeOf(&before, after); got != newContents {
		t.Errorf("the change is %v, want %v", got, newContents)
	}
}

// TestStatusIsWhole checks every field but the conditions.
func TestStatusIsWhole(t *testing.T) {
	s := good()
	s.Node, s.Programmed.Node = testNodeRules(7), testNodeRules(7)
	s.Node.Spec.Revision, s.Programmed.Node.Spec.Revision = "default-1", "default-1"
	s.Revision = &v1alpha1.RevisionStatus{Name: "default-1", Phase: v1alpha1.RevisionVerified}
	s.Capabilities = []v1alpha1.ModeCapability{{Mode: v1alpha1.ModeIPVS, Message: "no ip_vs"}}
	s.Programmed.Slices, s.Programmed.Counts = 1, resolve.Counts{Services: 2, Frontends: 3, Endpoints: 4}
	s.Repairs = Repairs{Count: 5, Last: time.Unix(100, 700)}
	got := StatusOf(s, nil, metav1.Now())
	got.Conditions = nil
	want := v1alpha1.NodeRuleSetStatus{
		ObservedGeneration: 7, Policy: &s.Node.Spec.Policy, AppliedRevision: "default-1", Revision: s.Revision,
		Mode: v1alpha1.ModeNFTables, Capabilities: s.Capabilities, RulesDigest: "0000000000000007",
		Programmed: &v1alpha1.ProgrammedCounts{Slices: 1, Services: 2, Frontends: 3, Endpoints: 4},
		Repairs:    &v1alpha1.RepairCounts{Count: 5, LastTime: metav1.Unix(100, 0)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.Repairs = Repairs{}
	if got := StatusOf(s, nil, metav1.Now()).Repairs; got != nil {
		t.Errorf("without repairs: %+v", got)
	}
}

func TestStatusMessageIsBounded(t *testing.T) {
	o := with(Problem{KernelError, errors.New(strings.Repeat("x", 100_000))})
	for _, c := range StatusOf(o, nil, metav1.Now()).Conditions {
		if len(c.Message) > maxMessage {
			t.Errorf("%s has %d bytes, want at most %d", c.Type, len(c.Message), maxMessage)
		}
	}
}

func TestStatusMessageIsOneLine(t *testing.T) {
	o := with(
		Problem{KernelError, errors.Join(errors.New("one"), errors.New("two"))},
		Problem{ModeUnsupported, errors.Join(errors.New("none of the modes"), errors.New("IPVS: not there"))},
		Problem{SkippedRules, errors.Join(errors.New("one"), errors.New("two"))})
	for _, c := range StatusOf(o, nil, metav1.Now()).Conditions {
		if strings.Contains(c.Message, "\n") {
			t.Errorf("%s: %q", c.Type, c.Message)
		}
	}
}

func TestStatusKeepsTransitionTimes(t *testing.T) {
	first, later := metav1.Unix(100, 0), metav1.Unix(200, 0)
	before := StatusOf(good(), nil, first).Conditions
	o := with(Problem{KernelError, errors.New("trouble")})
	for _, c := range StatusOf(o, before, later).Conditions {
		want := later
		if c.Type == v1alpha1.ConditionAccepted {
			want = first
		}
		if !c.LastTransitionTime.Equal(&want) {
			t.Errorf("%s changed at %v, want %v", c.Type, c.LastTransitionTime, want)
		}
	}
}

// TestReporter steps a reporter through time and counts its writes.
func TestReporter(t *testing.T) {
	type step struct {
		after    time.Duration
		snapshot Snapshot
		fail     bool
		want     int // writes so far
	}
	counted := func(services int) Snapshot {
		o := good()
		o.Programmed.Counts = resolve.Counts{Services: services}
		return o
	}
	failing := with(Problem{KernelError, errors.New("trouble")})
	gone := good()
	gone.NodeGone = true
	stored := good()
	stored.FromAPI = false
	cases := map[string][]step{
		"the first is written": {{snapshot: good(), want: 1}},
		"the same is not written again": {
			{snapshot: good(), want: 1}, {after: time.Hour, snapshot: good(), want: 1}},
		"a condition is written at once": {
			{snapshot: good(), want: 1}, {after: time.Second, snapshot: failing, want: 2}, {snapshot: good(), want: 3}},
		"counts wait for their minute": {
			{snapshot: counted(1), want: 1},
			{after: time.Second, snapshot: counted(2), want: 1},
			{after: 50 * time.Second, snapshot: counted(3), want: 1},
			{after: 9 * time.Second, snapshot: counted(3), want: 2},
			{after: 10 * time.Second, snapshot: counted(4), want: 2}},
		"counts after a quiet time wait for the jitter only": {
			{snapshot: counted(1), want: 1},
			{after: time.Hour, snapshot: counted(2), want: 1},
			{after: 3 * time.Second, snapshot: counted(2), want: 2}},
		"a failed write is tried again with back-off": {
			{snapshot: good(), fail: true, want: 1},
			{snapshot: good(), fail: true, want: 1},
			{after: writeRetryMin, snapshot: good(), fail: true, want: 2},
			{after: writeRetryMin, snapshot: good(), want: 2},
			{after: writeRetryMin, snapshot: good(), want: 3},
			{after: time.Hour, snapshot: good(), want: 3}},
		"the back-off begins anew after a write": {
			{snapshot: good(), fail: true, want: 1},
			{after: writeRetryMin, snapshot: good(), fail: true, want: 2},
			{after: 2 * writeRetryMin, snapshot: good(), want: 3},
			{after: time.Hour, snapshot: failing, fail: true, want: 4},
			{after: writeRetryMin, snapshot: failing, want: 5}},
		"nothing is written where no object is":          {{snapshot: gone, want: 0}},
		"nothing is written before the API has answered": {{snapshot: stored, want: 0}},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
			writes, fail := 0, false
			r := NewWriter(func(context.Context, types.UID, v1alpha1.NodeRuleSetStatus) error {
				writes++
				if fail {
					return errors.New("no apiserver")
				}
				return nil
			}, nil, logr.Discard(), clk)
			r.random, r.backoff.Jitter = func() float64 { return 0.4 }, 0 // 2 s of 5
			for i, s := range steps {
				clk.Step(s.after)
				fail = s.fail
				r.Set(s.snapshot)
				r.step(t.Context())
				if writes != s.want {
					t.Fatalf("step %d: %d writes, want %d", i, writes, s.want)
				}
			}
		})
	}
}

// TestReporterRestores shows the reporter what the API holds, some time after
// its first write, and counts the writes that answer it.
func TestReporterRestores(t *testing.T) {
	emptied := v1alpha1.NodeRuleSetStatus{}
	shuffled := func(s v1alpha1.NodeRuleSetStatus) v1alpha1.NodeRuleSetStatus {
		s.Conditions = slices.Clone(s.Conditions)
		slices.Reverse(s.Conditions)
		s.Conditions[0].LastTransitionTime = metav1.Unix(1, 0)
		return s
	}
	same := func(s v1alpha1.NodeRuleSetStatus) v1alpha1.NodeRuleSetStatus { return s }
	edited := func(v1alpha1.NodeRuleSetStatus) v1alpha1.NodeRuleSetStatus { return emptied }
	cases := map[string]struct {
		shown func(written v1alpha1.NodeRuleSetStatus) v1alpha1.NodeRuleSetStatus
		uid   types.UID
		after time.Duration
		want  int
	}{
		"what was written":         {same, good().Node.UID, time.Hour, 0},
		"the same in other words":  {shuffled, good().Node.UID, time.Hour, 0},
		"an external edit":         {edited, good().Node.UID, time.Hour, 1},
		"maybe our write's before": {edited, good().Node.UID, restoreAfter - time.Second, 0},
		"another object":           {edited, "another", time.Hour, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
			var writes []v1alpha1.NodeRuleSetStatus
			r := NewWriter(func(_ context.Context, _ types.UID, s v1alpha1.NodeRuleSetStatus) error {
				writes = append(writes, s)
				return nil
			}, nil, logr.Discard(), clk)
			r.Set(good())
			r.step(t.Context())
			clk.Step(tc.after)
			r.ShowStatus(tc.uid, tc.shown(writes[0]))
			for range 3 {
				r.step(t.Context())
				clk.Step(time.Millisecond)
			}
			if got := len(writes) - 1; got != tc.want {
				t.Errorf("%d writes, want %d", got, tc.want)
			}
		})
	}
}

func TestStatusOfFlows(t *testing.T) {
	conntrackErr := Problem{ConntrackFailed, errors.New("operation not permitted")}
	sysctlErr := Problem{ConntrackSysctlFailed, errors.New("nf_conntrack_max is 1 and should be 2: read-only file system")}
	cases := map[string]struct {
		snapshot Snapshot
		reason   string
	}{
		"nothing is wrong": {good(), v1alpha1.ReasonHealthy},
		"clean-up":         {with(conntrackErr), v1alpha1.ReasonConntrackFailed},
		"parameters":       {with(sysctlErr), v1alpha1.ReasonConntrackSysctl},
		"both":             {with(conntrackErr, sysctlErr), v1alpha1.ReasonConntrackFailed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := degraded(tc.snapshot)
			want := metav1.ConditionTrue
			if tc.reason == v1alpha1.ReasonHealthy {
				want = metav1.ConditionFalse
			}
			if got.Reason != tc.reason || got.Status != want {
				t.Errorf("%s %s: %s", got.Status, got.Reason, got.Message)
			}
			if accepted(tc.snapshot).Status != metav1.ConditionTrue || programmed(tc.snapshot).Status != metav1.ConditionTrue {
				t.Error("the rules are programmed all the same")
			}
		})
	}
}

// TestKubeProxyReplaced checks the condition, from what was found and from what an agent before has found.
func TestKubeProxyReplaced(t *testing.T) {
	const take, give = v1alpha1.KubeProxyTakeOver, v1alpha1.KubeProxyGiveBack
	before := []metav1.Condition{{Type: "KubeProxyReplaced", Status: metav1.ConditionTrue, Reason: "Replaced", Message: "As before.", LastTransitionTime: metav1.Unix(1000, 0)}}
	taken := []metav1.Condition{{Type: "KubeProxyReplaced", Status: metav1.ConditionFalse, Reason: "GivenBack", LastTransitionTime: metav1.Unix(1000, 0)}}
	for name, c := range map[string]struct {
		action   v1alpha1.KubeProxyAction
		found    *v1alpha1.KubeProxyStatus
		previous []metav1.Condition
		want     string
		changes  bool
	}{
		"left alone":                 {"", &v1alpha1.KubeProxyStatus{Running: true}, nil, "", false},
		"left alone again":           {"", &v1alpha1.KubeProxyStatus{}, before, "", false},
		"not looked":                 {take, nil, nil, "Unknown/KubeProxyUnknown at 2000: The agent has not looked for kube-proxy yet.", true},
		"not looked since a restart": {take, nil, before, "True/Replaced at 1000: As before.", true},
		"gone":                       {take, &v1alpha1.KubeProxyStatus{}, nil, "True/Replaced at 2000: Neither kube-proxy nor its rules are on the node.", false},
		"still gone":                 {take, &v1alpha1.KubeProxyStatus{}, before, "True/Replaced at 1000: Neither kube-proxy nor its rules are on the node.", false},
		"it runs":                    {take, &v1alpha1.KubeProxyStatus{Running: true, Mode: "ipvs"}, before, "False/KubeProxyFound at 2000: kube-proxy runs, in the mode ipvs.", true},
		"it runs somehow":            {take, &v1alpha1.KubeProxyStatus{Running: true}, nil, "False/KubeProxyFound at 2000: kube-proxy runs, in the mode unknown.", true},
		"its rules are there": {take, &v1alpha1.KubeProxyStatus{Mode: "nftables", Leftovers: []string{"a", "b"}}, nil,
			"False/KubeProxyFound at 2000: Rules of kube-proxy are in the kernel: a, b.", true},
		"all of it": {take, &v1alpha1.KubeProxyStatus{Running: true, Mode: "iptables", Leftovers: []string{"a"}, Message: "Failed"}, nil,
			"False/KubeProxyFound at 2000: kube-proxy runs, in the mode iptables. Rules of kube-proxy are in the kernel: a. Failed.", true},
		"nothing is sure":  {take, &v1alpha1.KubeProxyStatus{Message: "Failed"}, nil, "False/KubeProxyFound at 2000: Failed.", true},
		"to be given back": {give, &v1alpha1.KubeProxyStatus{Running: true, Mode: "ipvs"}, before, "Unknown/GivingBack at 2000: kube-proxy runs, in the mode ipvs.", true},
		"it has not come":  {give, &v1alpha1.KubeProxyStatus{}, nil, "Unknown/GivingBack at 2000: kube-proxy does not run.", true},
		"it has gone, and its rules are there": {give, &v1alpha1.KubeProxyStatus{Leftovers: []string{"a"}, Message: "Failed."}, taken,
			"Unknown/GivingBack at 2000: kube-proxy does not run. Failed.", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			s.Node.Spec.KubeProxy, s.KubeProxy = c.action, c.found
			got := ""
			if c := apimeta.FindStatusCondition(StatusOf(s, c.previous, metav1.Unix(2000, 0)).Conditions, v1alpha1.ConditionKubeProxyReplaced); c != nil {
				got = fmt.Sprintf("%s/%s at %d: %s", c.Status, c.Reason, c.LastTransitionTime.Unix(), c.Message)
			}
			if got != c.want || s.Changes() != c.changes {
				t.Errorf("%q, want %q; changes: %v", got, c.want, s.Changes())
			}
		})
	}
}
