// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestStatusNamesWhatIsProgrammed checks that the status names the generation and policy that
// are in the kernel, not the newest ones.
func TestStatusNamesWhatIsProgrammed(t *testing.T) {
	older, newer := testNodeRules(1), testNodeRules(2)
	older.Spec.Policy, newer.Spec.Policy = v1alpha1.PolicyReference{Name: "a", Generation: 1}, v1alpha1.PolicyReference{Name: "b", Generation: 1}
	older.Spec.Revision, newer.Spec.Revision = "a-1", "b-2"
	s := good()
	s.Node, s.Programmed.Node = newer, older
	status := StatusOf(s, nil, metav1.Now())
	if status.ObservedGeneration != 1 || status.Policy == nil || status.Policy.Name != "a" || status.AppliedRevision != "a-1" {
		t.Errorf("reports the generation %d of %v, revision %s", status.ObservedGeneration, status.Policy, status.AppliedRevision)
	}
	s.Programmed.Node = nil
	if status = StatusOf(s, nil, metav1.Now()); status.ObservedGeneration != 0 || status.Policy != nil || status.AppliedRevision != "" {
		t.Errorf("of an earlier agent: reports the generation %d of %v, revision %s", status.ObservedGeneration, status.Policy, status.AppliedRevision)
	}
}

// TestGenerationsAreUsedAgain checks that a status does not name a generation of the API's object
// that is not programmed, though one of the same number is: the object was deleted and created
// again, or etcd restored from a backup.
func TestGenerationsAreUsedAgain(t *testing.T) {
	otherSpec := func(n *source.NodeRules) { n.Spec.Policy.Generation++ }
	otherObject := func(n *source.NodeRules) { n.UID = "another" }
	for name, c := range map[string]struct {
		newest     func(*source.NodeRules)
		observed   int64
		programmed bool
	}{
		"the same":                            {func(*source.NodeRules) {}, 7, true},
		"an older generation, before restore": {func(n *source.NodeRules) { n.Generation = 6; otherSpec(n) }, 7, false},
		"the same generation, another spec":   {otherSpec, 0, false},
		"another object":                      {otherObject, 0, false},
		"another object of a higher number":   {func(n *source.NodeRules) { n.Generation = 8; otherObject(n) }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			s.Node, s.Programmed.Node = testNodeRules(7), testNodeRules(7)
			c.newest(s.Node)
			status := StatusOf(s, nil, metav1.Now())
			if status.ObservedGeneration != c.observed {
				t.Errorf("reports the generation %d", status.ObservedGeneration)
			}
			if got := meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionProgrammed); got != c.programmed {
				t.Errorf("reports that the newest is programmed: %v", got)
			}
		})
	}
}

func TestUpToDate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Snapshot)
		want   bool
	}{
		"all is well":                   {func(*Snapshot) {}, true},
		"only what was stored":          {func(s *Snapshot) { s.FromAPI = false }, false},
		"nothing is programmed":         {func(s *Snapshot) { s.Programmed = nil }, false},
		"an older generation":           {func(s *Snapshot) { s.Node = testNodeRules(2) }, false},
		"the kernel refuses":            {func(s *Snapshot) { s.Problems = []Problem{{KernelError, errors.New("trouble")}} }, false},
		"the disk is full":              {func(s *Snapshot) { s.Problems = []Problem{{JournalFailed, errors.New("trouble")}} }, true},
		"cleaned up":                    {leaving, true},
		"returned to the policy before": {returned, true},
		"stored, to be cleaned":         {func(s *Snapshot) { leaving(s); s.FromAPI = false }, false},
		"it cannot be cleaned up":       {func(s *Snapshot) { leaving(s); s.Problems = []Problem{{NodeCleanup, errors.New("trouble")}} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			s.FromAPI = true
			c.change(&s)
			if got := s.UpToDate(); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestChangeOf(t *testing.T) {
	now := good()
	now.Revision = &v1alpha1.RevisionStatus{Name: "default-1", Phase: v1alpha1.RevisionProgrammed}
	now.Limitations = []dataplane.Limitation{{Reason: "IPv4", Message: "none", Count: 1}}
	written := StatusOf(now, nil, metav1.Now())
	type status = v1alpha1.NodeRuleSetStatus
	for name, c := range map[string]struct {
		change func(*status)
		want   change
	}{
		"nothing":        {func(*status) {}, unchanged},
		"the mode":       {func(s *status) { s.Mode = v1alpha1.ModeIPVS }, newState},
		"the generation": {func(s *status) { s.ObservedGeneration++ }, newState},
		"the revision":   {func(s *status) { s.AppliedRevision = "default-2" }, newState},
		"the phase":      {func(s *status) { s.Revision = &v1alpha1.RevisionStatus{Phase: v1alpha1.RevisionFailed} }, newState},
		"the same again": {func(s *status) {
			s.Revision = &v1alpha1.RevisionStatus{Name: "default-1", Phase: v1alpha1.RevisionProgrammed, AssignedTime: &metav1.Time{}}
		}, newState},
		"no revision": {func(s *status) { s.Revision = nil }, newState},
		"another revision on trial": {func(s *status) {
			s.Revision = &v1alpha1.RevisionStatus{Name: "default-2", Phase: v1alpha1.RevisionProgrammed}
		}, newState},
		"another message of a limitation": {func(s *status) { s.Limitations[0].Message = "x" }, newContents},
		"another reason of it":            {func(s *status) { s.Limitations[0].Reason = "x" }, newContents},
		"what a limitation concerns":      {func(s *status) { s.Limitations[0].Frontends, s.Limitations[0].Services = 2, []string{"a/b"} }, newCounts},
		"another error of the revision": {func(s *status) {
			s.Revision = &v1alpha1.RevisionStatus{Name: "default-1", Phase: v1alpha1.RevisionProgrammed, LastError: "x"}
		}, newContents},
		"the policy":           {func(s *status) { s.Policy = &v1alpha1.PolicyReference{Name: "other"} }, newState},
		"a condition":          {func(s *status) { s.Conditions[0].Reason = "Other" }, newContents},
		"a limitation":         {func(s *status) { s.Limitations = []v1alpha1.Limitation{{Reason: "IPv6"}} }, newContents},
		"the digest":           {func(s *status) { s.RulesDigest = "0000000000000001" }, newCounts},
		"what is held":         {func(s *status) { s.Held = &v1alpha1.HeldCounts{Slices: 1} }, newCounts},
		"repairs":              {func(s *status) { s.Repairs = &v1alpha1.RepairCounts{Count: 1} }, newCounts},
		"counts and the mode":  {func(s *status) { s.RulesDigest, s.Mode = "1", v1alpha1.ModeIPVS }, newState},
		"counts, a capability": {func(s *status) { s.RulesDigest, s.Capabilities = "1", []v1alpha1.ModeCapability{{}} }, newContents},
	} {
		t.Run(name, func(t *testing.T) {
			now := *written.DeepCopy()
			c.change(&now)
			if got := changeOf(&written, now); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
	first := *written.DeepCopy()
	first.Revision = nil
	if got := changeOf(&first, written); got != newState {
		t.Errorf("the first revision: %d", got)
	}
	if got := changeOf(nil, written); got != newState {
		t.Errorf("the first: %d", got)
	}
}

// TestLimitationsAddUp checks that limitations of one reason are counted together, and named
// beside more severe problems.
func TestLimitationsAddUp(t *testing.T) {
	s := with(Problem{KernelError, errors.New("trouble")}, Problem{JournalFailed, errors.New("no space")})
	s.Limitations = []dataplane.Limitation{{Reason: "IPv6", Message: "no IPv6", Count: 2}, {Reason: "IPv6", Message: "none", Count: 3}}
	status := StatusOf(s, nil, metav1.Now())
	if diff := cmp.Diff([]v1alpha1.Limitation{{Reason: "IPv6", Message: "no IPv6", Frontends: 5}}, status.Limitations); diff != "" {
		t.Errorf("limitations (-want +got):\n%s", diff)
	}
	message := status.Conditions[2].Message
	first, second, third := strings.Index(message, "trouble"), strings.Index(message, "no IPv6"), strings.Index(message, "no space")
	if first < 0 || second < first || third < second {
		t.Errorf("Degraded says %q", message)
	}
}

// TestWriterTriesAgain fails once, though nothing changes after that; and then the NodeRuleSet
// is replaced by another one of its name.
func TestWriterTriesAgain(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	var uids []types.UID
	fails := true
	w := NewWriter(func(_ context.Context, uid types.UID, _ v1alpha1.NodeRuleSetStatus) error {
		uids = append(uids, uid)
		if fails {
			return errors.New("away")
		}
		return nil
	}, nil, logr.Discard(), clk)
	step := func(what string, want ...types.UID) {
		t.Helper()
		w.step(t.Context())
		if diff := cmp.Diff(want, uids); diff != "" {
			t.Errorf("%s: written to (-want +got):\n%s", what, diff)
		}
	}
	s := good()
	s.FromAPI = true
	w.Set(s)
	step("it fails", "uid")
	step("too early", "uid")
	fails = false
	clk.Step(time.Minute)
	step("it works", "uid", "uid")
	clk.Step(time.Hour)
	step("nothing changes", "uid", "uid")
	node := *s.Node
	node.UID = "another"
	s.Node = &node
	w.Set(s)
	step("another object", "uid", "uid", "another")
	stored := s
	stored.FromAPI = false
	other := node
	other.UID = "stored"
	stored.Node = &other
	w.Set(stored)
	step("before the API answers", "uid", "uid", "another")
}

// TestHeartbeatEnds checks that a node whose NodeRuleSet is deleted no longer counts as one that
// reports.
func TestHeartbeatEnds(t *testing.T) {
	h := NewHeartbeat(nil, func() bool { return true }, logr.Discard(), clocktesting.NewFakeClock(time.Unix(1000, 0)))
	s := good()
	s.FromAPI = true
	for _, gone := range []bool{false, true, false} {
		s.NodeGone = gone
		if h.Set(s); (h.wanted() == "") != gone {
			t.Errorf("gone: %v, beats for %q", gone, h.wanted())
		}
	}
}
