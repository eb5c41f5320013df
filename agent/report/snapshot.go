// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package report says what the engine has done: in the NodeRuleSet's status, in events
// and in the log.
//
//	Snapshot -> conditions, limitations -> Writer -> API
package report

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// Snapshot is what the engine knows at the end of a step. It is never changed: the
// engine makes a new one after each step.
type Snapshot struct {
	// Node is the newest NodeRuleSet; NodeGone: it was deleted since.
	Node     *source.NodeRules
	NodeGone bool

	// Rules are those of the node that the kernel is to have, if they are not Node: with the
	// policy that was verified last, see Revision.
	Rules *source.NodeRules

	// Revision is how far the agent is with Node's revision; nil: it has none.
	Revision *v1alpha1.RevisionStatus

	// Returns is how often the agent has returned to the policy before since it started. The last
	// return may not be in Revision yet.
	Returns int64

	// FromAPI says that the API has answered, and not only the journal.
	FromAPI bool

	// Programmed is nil before the first time.
	Programmed *Programmed

	Problems     []Problem // the most severe first
	Limitations  []dataplane.Limitation
	Capabilities []v1alpha1.ModeCapability
	Repairs      Repairs
	Held         source.Held
	KubeProxy    *v1alpha1.KubeProxyStatus
	Released     bool // kube-proxy serves the node, and our rules are gone

	// AwaitsKubeProxy says that the node is to be cleaned up when kube-proxy serves it, and works until then.
	AwaitsKubeProxy bool

	Step Step
}

// Programmed is what is in the kernel.
type Programmed struct {
	// Node are the rules of the node that are programmed; nil: unknown, as the mode was
	// chosen by an earlier agent.
	Node *source.NodeRules

	Mode   v1alpha1.ProxyMode
	Digest uint64 // XOR of the slices' digests
	Slices int
	Counts resolve.Counts
	Time   time.Time
}

// Repairs counts the steps that found external changes of the rules and undid them.
type Repairs struct {
	Count int64
	Last  time.Time
}

// Step is what one step of the engine did.
type Step struct {
	// Mode is the one that was programmed; empty: none was.
	Mode v1alpha1.ProxyMode

	// Synced says that all rules were compared with the kernel, and not only changes
	// were applied.
	Synced bool

	Operations, Repaired int
	Duration             time.Duration

	// Queued is when the oldest change of this step came; zero: there was none.
	Queued time.Time

	// Began are the moments at which the changes began that this step programmed.
	Began []time.Time
}

// Problem returns the error of a kind; nil: there is none.
func (s Snapshot) Problem(kind Kind) error {
	for _, p := range s.Problems {
		if p.Kind == kind {
			return p.Err
		}
	}
	return nil
}

// With returns the snapshot with one more problem, of a kind that it does not have; nil: none.
func (s Snapshot) With(kind Kind, err error) Snapshot {
	if err == nil {
		return s
	}
	at := slices.IndexFunc(s.Problems, func(p Problem) bool { return p.Kind > kind })
	if at < 0 {
		at = len(s.Problems)
	}
	s.Problems = slices.Insert(slices.Clone(s.Problems), at, Problem{kind, err})
	return s
}

// UpToDate says whether the kernel holds what the API, and not only the journal, asks for. That
// may be nothing, or, after a return, another policy.
func (s Snapshot) UpToDate() bool {
	c := programmed(s)
	return s.FromAPI && (c.Status == metav1.ConditionTrue || c.Reason == v1alpha1.ReasonCleanedUp || c.Reason == v1alpha1.ReasonRevisionReverted)
}

// rules are those of the node that the kernel is to have.
func (s Snapshot) rules() *source.NodeRules { return cmp.Or(s.Rules, s.Node) }

// isSelected says whether a ProxyConfig selects the node.
func (s Snapshot) isSelected() bool { return s.Node == nil || s.Node.Spec.CleanUpSince == nil }

// leaves says whether the node is cleaned up.
func (s Snapshot) leaves() bool { return !s.isSelected() && !s.AwaitsKubeProxy }

// observedGeneration is the generation that is programmed; 0: none of the newest object's. One
// of an object that was deleted, or of a time before etcd was restored from a backup, may be the
// newest one's, too, with another spec.
func (s Snapshot) observedGeneration() int64 {
	p := s.Programmed.Node
	if p.UID != s.Node.UID || p.Generation == s.Node.Generation && !p.Same(s.Node) {
		return 0
	}
	return p.Generation
}

// Mode is the mode that is programmed; empty: none is.
func (s Snapshot) Mode() v1alpha1.ProxyMode {
	if s.Programmed == nil {
		return ""
	}
	return s.Programmed.Mode
}
