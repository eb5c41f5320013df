// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package trial decides whether a node keeps a new revision of its policy, or returns to the
// one that it has verified last. It has no clock, disk or kernel: State.Next is a function of
// what the API asks for, what came of it, and the time.
//
//	Pending -> Preparing -> Programmed -> Verified
//	                 \            \-----> Reverted, or Failed if there is nothing to return to
package trial

import (
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// defaultDeadline is that of NodeRuleSet.spec.nodeDeadlineSeconds.
const defaultDeadline = 60 * time.Second

// State is how far the agent is with a revision, and what it has verified last. The zero value
// knows of none. It outlives the agent, in JSON.
type State struct {
	// Revision and AssignedTime are those of the spec that this is about. AssignedTime is only
	// compared: the clock of the controller is another one.
	Revision     string       `json:"revision,omitempty"`
	AssignedTime *metav1.Time `json:"assignedTime,omitempty"`

	// Since is when the agent saw the revision, by the node's clock.
	Since time.Time `json:"since,omitzero"`

	// Phase is empty before the first revision.
	Phase        v1alpha1.RevisionPhase `json:"phase,omitempty"`
	VerifiedTime *metav1.Time           `json:"verifiedTime,omitempty"`

	// LastError is what failed last, also before the deadline.
	LastError string `json:"lastError,omitempty"`

	// Asked is the policy of the revision, Verified the one that was verified last; nil: none
	// was. What is not of the policy is not set in them.
	Asked    *v1alpha1.NodeRuleSetSpec `json:"asked,omitempty"`
	Verified *v1alpha1.NodeRuleSetSpec `json:"verified,omitempty"`
}

// Outcome is what came of the policy that Rules returned last. The zero value says that nothing
// was tried yet.
type Outcome struct {
	// Err is why the policy is not programmed as it is; empty: nothing failed.
	Err string

	// Programmed says that the kernel has it, in a mode that it allows.
	Programmed bool

	// Checked says that the kernel was compared with it since, and Answered that the apiserver
	// has answered a request that began since.
	Checked, Answered bool

	// CheckErr is why the checks of the spec have not passed since; empty: they have, or there
	// are none. Unfit says that one has failed more often than its failureLimit allows.
	CheckErr string
	Unfit    bool
}

// Next returns the state at a moment. An outcome does not count if the spec asks for another
// revision, or the same one again: it is about the one before.
func (s State) Next(spec v1alpha1.NodeRuleSetSpec, o Outcome, now time.Time) State {
	asked := policyOf(spec)
	begins := !s.isAbout(spec, asked)
	if begins {
		s = State{Revision: spec.Revision, AssignedTime: spec.AssignedTime, Since: now, Phase: v1alpha1.RevisionPending, Verified: s.Verified}
		o = Outcome{}
	}
	s.Asked = &asked
	// A clock that was set back since says nothing about the time that has passed.
	over := now.Before(s.Since) || now.Sub(s.Since) >= deadline(spec) || o.Unfit
	switch {
	case s.Phase == v1alpha1.RevisionReverted:
		return s
	case s.Phase == v1alpha1.RevisionVerified:
		s.Verified = s.Asked // the generation of the ProxyConfig may have changed
		return s
	case o.Err == "" && o.Programmed && o.Checked && o.CheckErr == "" && o.Answered:
		at := metav1.NewTime(now.Truncate(time.Second))
		s.Phase, s.VerifiedTime, s.LastError, s.Verified = v1alpha1.RevisionVerified, &at, "", s.Asked
		return s
	}
	s.LastError = s.failure(o)
	switch {
	case over && spec.AssignedTime != nil && s.Verified != nil && !samePolicy(*s.Verified, asked):
		s.Phase = v1alpha1.RevisionReverted
	case over:
		s.Phase = v1alpha1.RevisionFailed
	case o.Programmed:
		s.Phase = v1alpha1.RevisionProgrammed
	case !begins && s.Phase == v1alpha1.RevisionPending:
		s.Phase = v1alpha1.RevisionPreparing
	}
	return s
}

// isAbout says whether a spec asks for what this state is about. After a return only another
// revision, or another assignment, is a reason to try again.
func (s State) isAbout(spec, asked v1alpha1.NodeRuleSetSpec) bool {
	if s.Phase == "" || s.Asked == nil || s.Revision != spec.Revision || !s.AssignedTime.Equal(spec.AssignedTime) {
		return false
	}
	if s.Phase == v1alpha1.RevisionReverted {
		return s.Verified != nil
	}
	return samePolicy(*s.Asked, asked)
}

// failure says what is missing for the revision to be verified.
func (s State) failure(o Outcome) string {
	switch {
	case o.Err != "":
		return o.Err
	case !o.Programmed && s.LastError != "":
		return s.LastError
	case !o.Programmed:
		return "it is not programmed"
	case !o.Checked:
		return "the kernel was not compared with it since it is programmed"
	case o.CheckErr != "":
		return o.CheckErr
	}
	return "the apiserver has not answered since it is programmed"
}

// Rules returns what is to be programmed where the API asks for spec: that, or after a return
// the same with the policy that was verified last.
func (s State) Rules(spec v1alpha1.NodeRuleSetSpec) v1alpha1.NodeRuleSetSpec {
	if s.Phase != v1alpha1.RevisionReverted {
		return spec
	}
	return withPolicy(spec, *s.Verified)
}

// Ended says that nothing but another spec changes the state.
func (s State) Ended() bool {
	return s.Phase == v1alpha1.RevisionVerified || s.Phase == v1alpha1.RevisionReverted
}

// Due is when to look again although nothing happens; zero: never.
func (s State) Due(spec v1alpha1.NodeRuleSetSpec) time.Time {
	switch s.Phase {
	case v1alpha1.RevisionPending, v1alpha1.RevisionPreparing, v1alpha1.RevisionProgrammed:
		return s.Since.Add(deadline(spec))
	}
	return time.Time{}
}

// Status is what the NodeRuleSet's status says; nil: the revision has no name.
func (s State) Status() *v1alpha1.RevisionStatus {
	if s.Phase == "" || s.Revision == "" {
		return nil
	}
	out := &v1alpha1.RevisionStatus{Name: s.Revision, AssignedTime: s.AssignedTime, Phase: s.Phase, VerifiedTime: s.VerifiedTime}
	if s.Phase == v1alpha1.RevisionFailed || s.Phase == v1alpha1.RevisionReverted {
		out.LastError = s.LastError
	}
	return out
}

// Kept is the part of the state that is worth a write to the disk. What came of a revision on
// trial is found again.
func (s State) Kept() State {
	if !s.Ended() && s.Phase != "" {
		s.Phase, s.LastError = v1alpha1.RevisionPending, ""
	}
	return s
}

// Restored returns the state that an earlier agent has kept. From now on time passes by the
// monotonic clock.
func (s State) Restored(now time.Time) State {
	s = s.Kept()
	s.Since = now.Add(-now.Round(0).Sub(s.Since))
	return s
}

func deadline(spec v1alpha1.NodeRuleSetSpec) time.Duration {
	if s := spec.NodeDeadlineSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return defaultDeadline
}

// policyOf returns the fields of a spec that are of the policy: those that return with it.
func policyOf(spec v1alpha1.NodeRuleSetSpec) v1alpha1.NodeRuleSetSpec {
	return withPolicy(v1alpha1.NodeRuleSetSpec{}, spec)
}

// withPolicy returns a spec with another policy. What is known of the node and the cluster, what
// the agent does at once whatever the revision, and the trial itself are those of the spec.
func withPolicy(spec, policy v1alpha1.NodeRuleSetSpec) v1alpha1.NodeRuleSetSpec {
	policy.Node, policy.ServiceCIDRs = spec.Node, spec.ServiceCIDRs
	policy.MassRemoval, policy.DeletionPolicy, policy.CleanUpSince = spec.MassRemoval, spec.DeletionPolicy, spec.CleanUpSince
	policy.AssignedTime, policy.NodeDeadlineSeconds, policy.Checks = spec.AssignedTime, spec.NodeDeadlineSeconds, spec.Checks
	return policy
}

// samePolicy says whether two policies program the same, whatever their names.
func samePolicy(a, b v1alpha1.NodeRuleSetSpec) bool {
	a.Policy, a.Revision = b.Policy, b.Revision
	return apiequality.Semantic.DeepEqual(a, b)
}
