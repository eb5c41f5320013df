// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// VerifiedSince returns since when a node has verified its revision, and whether it has failed it. What
// the agent says of another one, or of the time before it was given again, does not count.
func VerifiedSince(set *v1alpha1.NodeRuleSet) (since time.Time, failed bool) {
	s := set.Status.Revision
	if s == nil {
		// An agent that knows no trials.
		c := apimeta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionProgrammed)
		if set.Status.AppliedRevision != set.Spec.Revision || c == nil || c.Status != metav1.ConditionTrue {
			return time.Time{}, false
		}
		since = c.LastTransitionTime.Time
		if at := set.Spec.AssignedTime; at != nil && at.After(since) {
			since = at.Time
		}
		return since, false
	}
	if s.Name != set.Spec.Revision || !s.AssignedTime.Equal(set.Spec.AssignedTime) {
		return time.Time{}, false
	}
	switch s.Phase {
	case v1alpha1.RevisionFailed, v1alpha1.RevisionReverted:
		return time.Time{}, true
	case v1alpha1.RevisionVerified:
		since = set.CreationTimestamp.Time
		// A node whose clock is behind must not have soaked before it was given the revision.
		for _, t := range []*metav1.Time{set.Spec.AssignedTime, s.VerifiedTime} {
			if t != nil && t.After(since) {
				since = t.Time
			}
		}
	}
	return since, false
}
