// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trial

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// start is when the tests begin, by the node's clock.
var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// at is an assignedTime.
func at(second int) *metav1.Time {
	// Years before the node's clock.
	t := metav1.NewTime(time.Date(2020, 1, 1, 0, 0, second, 0, time.UTC))
	return &t
}

// asking returns a spec with a revision of which the policy is a mode.
func asking(revision string, mode v1alpha1.ProxyMode, assigned *metav1.Time) v1alpha1.NodeRuleSetSpec {
	return v1alpha1.NodeRuleSetSpec{
		Policy: v1alpha1.PolicyReference{Name: "default", Generation: 1}, Revision: revision, Mode: mode, AssignedTime: assigned,
		Node: v1alpha1.NodeFacts{Addresses: []string{"192.0.2.1"}}, ServiceCIDRs: []string{"10.96.0.0/16"},
	}
}

// The revisions of the tests.
var (
	first  = asking("r-1", v1alpha1.ModeNFTables, at(1))
	second = asking("r-2", v1alpha1.ModeIPVS, at(2))
	third  = asking("r-3", v1alpha1.ModeIPTables, at(3))
)

// Outcomes.
var (
	programmed = Outcome{Programmed: true}
	checked    = Outcome{Programmed: true, Checked: true}
	cutOff     = checked
	unchecked  = Outcome{Programmed: true, Answered: true}
	good       = Outcome{Programmed: true, Checked: true, Answered: true}
	failing    = Outcome{Programmed: true, Checked: true, Answered: true, CheckErr: "check web: no answer"}
	unfit      = Outcome{Programmed: true, CheckErr: "check web: no answer", Checked: true, Unfit: true}
	refused    = Outcome{Err: "the kernel says no"}
	bothSides  = Outcome{Err: "the kernel says no", Programmed: true, Checked: true, Answered: true}
)

// event is what happens after some time.
type event struct {
	after   time.Duration
	spec    *v1alpha1.NodeRuleSetSpec // nil: the same
	outcome Outcome
	restart bool          // before it
	clock   time.Duration // by how much the clock is set forward then
}
