// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package noderules

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// set is a NodeRuleSet in its second generation.
func set(policy v1alpha1.DeletionPolicy, change ...func(*v1alpha1.NodeRuleSet)) *v1alpha1.NodeRuleSet {
	s := &v1alpha1.NodeRuleSet{}
	s.Generation, s.Spec.DeletionPolicy = 2, policy
	for _, c := range change {
		c(s)
	}
	return s
}

func asked(at time.Time) func(*v1alpha1.NodeRuleSet) {
	return func(s *v1alpha1.NodeRuleSet) { s.Spec.CleanUpSince = &metav1.Time{Time: at} }
}

// reports sets the condition Programmed of a generation.
func reports(reason string, generation int64) func(*v1alpha1.NodeRuleSet) {
	return func(s *v1alpha1.NodeRuleSet) {
		s.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionFalse,
			Reason: reason, ObservedGeneration: generation}}
	}
}

func TestDeparture(t *testing.T) {
	const patience = 2 * time.Minute
	now := time.Unix(1_700_000_000, 0)
	const cleanup = v1alpha1.DeletionCleanup
	cases := map[string]struct {
		set  *v1alpha1.NodeRuleSet
		want departure
	}{
		"keep":                              {set(v1alpha1.DeletionKeep), departure{}},
		"of an older controller":            {set(""), departure{}},
		"clean up":                          {set(cleanup), departure{ask: true, wait: patience}},
		"no answer yet":                     {set(cleanup, asked(now.Add(-time.Minute))), departure{wait: time.Minute}},
		"cleaned up":                        {set(cleanup, asked(now), reports(v1alpha1.ReasonCleanedUp, 2)), departure{}},
		"cleaned up before the last policy": {set(cleanup, asked(now), reports(v1alpha1.ReasonCleanedUp, 1)), departure{wait: patience}},
		"cleaned up, but not asked":         {set(cleanup, reports(v1alpha1.ReasonCleanedUp, 2)), departure{ask: true, wait: patience}},
		"cannot":                            {set(cleanup, asked(now), reports(v1alpha1.ReasonCleanUpFailed, 2)), departure{wait: patience}},
		"cannot, and no time is left":       {set(cleanup, asked(now.Add(-patience)), reports(v1alpha1.ReasonCleanUpFailed, 2)), departure{silent: true}},
		"silent":                            {set(cleanup, asked(now.Add(-patience))), departure{silent: true}},
		"late":                              {set(cleanup, asked(now.Add(-time.Hour)), reports(v1alpha1.ReasonCleanedUp, 2)), departure{}},
		"asked by a clock that is ahead":    {set(cleanup, asked(now.Add(time.Hour))), departure{wait: patience}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, departureOf(tc.set, now, patience), cmp.AllowUnexported(departure{})); diff != "" {
				t.Errorf("departure (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSetChanged checks which changes of a NodeRuleSet trigger a reconcile.
func TestSetChanged(t *testing.T) {
	cases := map[string]struct {
		change func(*v1alpha1.NodeRuleSet)
		want   bool
	}{
		"status":     {reports(v1alpha1.ReasonProgramming, 2), false},
		"cleaned up": {reports(v1alpha1.ReasonCleanedUp, 2), true},
		"spec":       {func(s *v1alpha1.NodeRuleSet) { s.Generation++ }, true},
		"label":      {func(s *v1alpha1.NodeRuleSet) { s.Labels = map[string]string{"a": "b"} }, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := set(v1alpha1.DeletionCleanup)
			after := before.DeepCopy()
			tc.change(after)
			if got := setChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
