// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestVerifiedSince checks which reports of an agent count for the revision that its node has: it was
// created 1000 s ago and given 100 s ago.
func TestVerifiedSince(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	ago := func(seconds int) *metav1.Time {
		return &metav1.Time{Time: now.Add(-time.Duration(seconds) * time.Second)}
	}
	trial := func(phase v1alpha1.RevisionPhase, verified *metav1.Time) *v1alpha1.RevisionStatus {
		return &v1alpha1.RevisionStatus{Name: newer, AssignedTime: ago(100), Phase: phase, VerifiedTime: verified}
	}
	programmed := func(is metav1.ConditionStatus, seconds int) []metav1.Condition {
		return []metav1.Condition{{Type: v1alpha1.ConditionProgrammed, Status: is, LastTransitionTime: *ago(seconds)}}
	}
	type set = v1alpha1.NodeRuleSet
	for name, c := range map[string]struct {
		change func(*set)
		since  *metav1.Time // nil: it is not verified
		failed bool
	}{
		"it says nothing":  {func(*set) {}, nil, false},
		"verified":         {func(s *set) { s.Status.Revision = trial(v1alpha1.RevisionVerified, ago(50)) }, ago(50), false},
		"it is on trial":   {func(s *set) { s.Status.Revision = trial(v1alpha1.RevisionProgrammed, nil) }, nil, false},
		"failed":           {func(s *set) { s.Status.Revision = trial(v1alpha1.RevisionFailed, nil) }, nil, true},
		"reverted":         {func(s *set) { s.Status.Revision = trial(v1alpha1.RevisionReverted, nil) }, nil, true},
		"its clock is off": {func(s *set) { s.Status.Revision = trial(v1alpha1.RevisionVerified, ago(500)) }, ago(100), false},
		"without a time":   {func(s *set) { s.Status.Revision = trial(v1alpha1.RevisionVerified, nil) }, ago(100), false},
		"of another revision": {func(s *set) {
			s.Status.Revision = trial(v1alpha1.RevisionVerified, ago(50))
			s.Status.Revision.Name = older
		}, nil, false},
		"of before it was given again": {func(s *set) {
			s.Status.Revision = trial(v1alpha1.RevisionReverted, nil)
			s.Status.Revision.AssignedTime = ago(300)
		}, nil, false},
		"given without a time": {func(s *set) {
			s.Status.Revision = trial(v1alpha1.RevisionVerified, nil)
			s.Spec.AssignedTime, s.Status.Revision.AssignedTime = nil, nil
		}, ago(1000), false},
		"older agent, programmed": {func(s *set) {
			s.Status.AppliedRevision, s.Status.Conditions = newer, programmed(metav1.ConditionTrue, 50)
		}, ago(50), false},
		"older agent, programmed before": {func(s *set) {
			s.Status.AppliedRevision, s.Status.Conditions = newer, programmed(metav1.ConditionTrue, 500)
		}, ago(100), false},
		"older agent, another one": {func(s *set) {
			s.Status.AppliedRevision, s.Status.Conditions = older, programmed(metav1.ConditionTrue, 50)
		}, nil, false},
		"older agent, not programmed": {func(s *set) {
			s.Status.AppliedRevision, s.Status.Conditions = newer, programmed(metav1.ConditionFalse, 50)
		}, nil, false},
		"older agent, unknown": {func(s *set) {
			s.Status.AppliedRevision, s.Status.Conditions = newer, programmed(metav1.ConditionUnknown, 50)
		}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &set{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: *ago(1000)}, Spec: v1alpha1.NodeRuleSetSpec{Revision: newer, AssignedTime: ago(100)}}
			c.change(s)
			want := metav1.Time{}
			if c.since != nil {
				want = *c.since
			}
			if since, failed := VerifiedSince(s); !since.Equal(want.Time) || failed != c.failed {
				t.Errorf("since %v, failed %v, want %v, %v", since, failed, want, c.failed)
			}
		})
	}
}
