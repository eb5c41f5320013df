// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Strategy is how a rollout proceeds, in numbers of nodes.
type Strategy struct {
	// Stages are done one after the other. What they leave is the last one.
	Stages []Stage

	// MaxUnavailable is that of the last stage, at least 1.
	MaxUnavailable int

	// FailureThreshold is how many failed nodes fail the rollout, at least 1.
	FailureThreshold int

	// NodeDeadline is how long a node may take to verify a revision, and how long one that
	// has verified it may have a problem.
	NodeDeadline time.Duration

	// ProgressDeadline is how long no node may get or verify the revision, unless the rollout
	// waits for a person or soaks.
	ProgressDeadline time.Duration

	// KeepFailed pauses a failed rollout instead of undoing it.
	KeepFailed bool

	// Paused stops the rollout, but not its undoing.
	Paused bool
}

// Stage is a step of a rollout.
type Stage struct {
	Name string

	// Nodes is how many of the nodes in Of have the revision after the stage. Of nil: of all.
	Nodes int
	Of    map[string]bool

	// MaxUnavailable is how many nodes may change or be failed at once, at least 1.
	MaxUnavailable int

	// Soak is how long the stage is watched after its last node.
	Soak time.Duration

	// Approval: a person has to approve what follows.
	Approval bool
}

// The strategy of a ProxyConfig that names no stages: some nodes first.
const (
	Canary     = "canary"
	canaries   = 3
	canarySoak = time.Minute
)

// defaultUnavailable is maxUnavailable where it is absent.
var defaultUnavailable = intstr.FromString("10%")

// StrategyOf resolves the options of a ProxyConfig for its nodes. It fails if a selector is
// invalid.
func StrategyOf(o v1alpha1.RolloutOptions, to string, members []Member) (Strategy, error) {
	n := len(members)
	s := Strategy{
		MaxUnavailable:   part(o.MaxUnavailable, defaultUnavailable, n, false),
		FailureThreshold: part(o.FailureThreshold, intstr.FromInt32(1), n, true),
		NodeDeadline:     seconds(o.NodeDeadlineSeconds, 60),
		ProgressDeadline: seconds(o.ProgressDeadlineSeconds, 600),
		KeepFailed:       o.OnFailure == v1alpha1.OnFailurePause,
		Paused:           valueOf(o.Paused, false),
	}
	if len(o.Stages) == 0 {
		of := eachKind(to, members)
		s.Stages = []Stage{{Name: Canary, Nodes: len(of), Of: of, MaxUnavailable: s.MaxUnavailable, Soak: canarySoak}}
		return s, nil
	}
	for _, in := range o.Stages {
		stage := Stage{Name: in.Name, Soak: seconds(in.SoakSeconds, 60), Approval: in.Approval == v1alpha1.ApprovalRequired}
		of := n
		if in.NodeSelector != nil {
			selector, err := in.NodeSelector.Selector()
			if err != nil {
				return s, err
			}
			stage.Of = map[string]bool{}
			for _, m := range members {
				if selector.Matches(labels.Set(m.Labels)) {
					stage.Of[m.Name] = true
				}
			}
			of = len(stage.Of)
		}
		stage.Nodes = of
		if in.Nodes != nil {
			stage.Nodes = min(of, part(in.Nodes, *in.Nodes, of, true))
		}
		stage.MaxUnavailable = s.MaxUnavailable
		if in.MaxUnavailable != nil {
			stage.MaxUnavailable = part(in.MaxUnavailable, *in.MaxUnavailable, n, false)
		}
		s.Stages = append(s.Stages, stage)
	}
	return s, nil
}

// part is a number of nodes, at least 1, or a part of n.
func part(p *intstr.IntOrString, absent intstr.IntOrString, n int, up bool) int {
	share := valueOf(p, absent)
	value, err := intstr.GetScaledValueFromIntOrPercent(&share, n, up)
	if err != nil {
		return 1 // the API refuses it
	}
	return max(1, value)
}

// valueOf returns the value of an optional field.
func valueOf[T any](p *T, absent T) T {
	if p == nil {
		return absent
	}
	return *p
}

func seconds(s *int32, absent int32) time.Duration {
	return time.Duration(valueOf(s, absent)) * time.Second
}

// eachKind selects one node of each kind, at most as many as there are canaries. Those that have the
// revision stay, whatever nodes come.
func eachKind(to string, members []Member) map[string]bool {
	sorted := slices.Clone(members)
	slices.SortFunc(sorted, func(a, b Member) int {
		return compareBy(a, b, func(m Member) bool { return m.Assigned != to }, func(m Member) bool { return !m.Ready })
	})
	kinds, out := map[string]bool{}, map[string]bool{}
	for _, m := range sorted {
		if !kinds[m.Kind] && len(out) < canaries {
			kinds[m.Kind], out[m.Name] = true, true
		}
	}
	return out
}

// Order is what a person says of a rollout.
type Order int

// The orders.
const (
	Run     Order = iota
	Pause         // nothing new gets the revision
	Abort         // undo
	Promote       // soak no longer, and ask for no approval
)

// Member is what the API says of a node in a rollout.
type Member struct {
	Name   string
	Labels map[string]string

	// Kind is what nodes have in common that are alike, their kernel and zone.
	Kind string

	// Ready says that the node is ready. One that is not, since AwaySince, gets nothing.
	Ready     bool
	AwaySince time.Time

	// Assigned is the revision that the node is to have, since AssignedAt; empty: it has none,
	// and is not part of the rollout.
	Assigned   string
	AssignedAt time.Time

	// VerifiedAt is since when Assigned is verified; zero: it is not.
	VerifiedAt time.Time

	// TroubledSince is since when the agent reports a failure, or is silent; zero: it is fine.
	TroubledSince time.Time

	// Reverted says that the agent has undone Assigned, or cannot program it.
	Reverted bool
}

// good says whether a node runs what it is to run.
func (m Member) good() bool { return !m.VerifiedAt.IsZero() && m.TroubledSince.IsZero() && !m.Reverted }
