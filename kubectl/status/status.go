// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package status shows the policies, where their rollouts are, and what each node
// reports. Everything in it is what controller and agents have written into the API.
package status

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// patience is how old a heartbeat may be; the controller counts an agent as not ready after the
// same time.
const patience = time.Minute

// NotReporting is the state of a node whose agent has not renewed its heartbeat in time.
const NotReporting = "NotReporting"

// Report is the state of the whole installation.
type Report struct {
	Policies []Policy `json:"policies"`
	Nodes    []Node   `json:"nodes"`
}

// Policy is a ProxyConfig.
type Policy struct {
	Name  string              `json:"name"`
	Mode  v1alpha1.ProxyMode  `json:"mode"`
	Nodes v1alpha1.NodeCounts `json:"nodes"`
	// Revision is the one that nodes are to have, Stable the last one that was good on all.
	Revision string `json:"revision,omitempty"`
	Stable   string `json:"stable,omitempty"`
	// Behind says that the controller has not seen the latest change.
	Behind bool `json:"behind,omitempty"`
	// Problems are the conditions that need a person.
	Problems []string `json:"problems,omitempty"`
	Rollout  *Rollout `json:"rollout,omitempty"`
}

// Rollout is how the policy's revision reaches the nodes.
type Rollout struct {
	Name    string                        `json:"name"`
	Phase   v1alpha1.RolloutPhase         `json:"phase"`
	Stage   string                        `json:"stage,omitempty"`
	State   v1alpha1.RolloutState         `json:"state,omitempty"`
	Verdict v1alpha1.RolloutVerdict       `json:"verdict,omitempty"`
	Stages  []v1alpha1.RolloutStageStatus `json:"stages,omitempty"`
	Failed  []v1alpha1.FailingNode        `json:"failedNodes,omitempty"`
}

// Node is what an agent reports.
type Node struct {
	Name   string             `json:"name"`
	Policy string             `json:"policy"`
	Mode   v1alpha1.ProxyMode `json:"mode,omitempty"`
	// State is the reason of the condition that matters most: Programmed if all is well.
	State string `json:"state"`
	Well  bool   `json:"well"`
	// Message says more of a state that is not well.
	Message string `json:"message,omitempty"`
	// Phase is how far the node is with its revision.
	Phase    v1alpha1.RevisionPhase `json:"phase,omitempty"`
	Revision string                 `json:"revision,omitempty"`
	// Generation is the one to program, and Programmed the one that is.
	Generation int64 `json:"generation"`
	Programmed int64 `json:"programmedGeneration"`
	// SeenSeconds is the age of the agent's heartbeat; absent: there is none.
	SeenSeconds *int64                     `json:"seenSeconds,omitempty"`
	Counts      *v1alpha1.ProgrammedCounts `json:"counts,omitempty"`
	Digest      string                     `json:"digest,omitempty"`
	Supported   []v1alpha1.ProxyMode       `json:"supportedModes,omitempty"`
	Limitations []v1alpha1.Limitation      `json:"limitations,omitempty"`
}

// Of returns the report of the objects.
func Of(in Input) Report {
	r := Report{Policies: []Policy{}, Nodes: []Node{}}
	for i := range in.Configs {
		r.Policies = append(r.Policies, policyOf(&in.Configs[i], in.Rollouts))
	}
	seen := map[string]time.Time{}
	for i := range in.Heartbeats {
		seen[in.Heartbeats[i].Name] = in.Heartbeats[i].Spec.RenewTime.Time
	}
	for i := range in.Nodes {
		r.Nodes = append(r.Nodes, nodeOf(&in.Nodes[i], seen, in.Now))
	}
	slices.SortFunc(r.Policies, func(a, b Policy) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return r
}

// Well says whether nothing needs a person.
func (r *Report) Well() bool {
	return !slices.ContainsFunc(r.Policies, func(p Policy) bool { return len(p.Problems) > 0 || p.Rollout != nil && p.Rollout.bad() }) &&
		!slices.ContainsFunc(r.Nodes, func(n Node) bool { return !n.Well })
}

func policyOf(c *v1alpha1.ProxyConfig, rollouts []v1alpha1.ProxyRollout) Policy {
	p := Policy{Name: c.Name, Mode: c.Spec.Mode, Revision: c.Status.TargetRevision, Stable: c.Status.StableRevision,
		Behind: c.Status.ObservedGeneration != c.Generation}
	if c.Status.Nodes != nil {
		p.Nodes = *c.Status.Nodes
	}
	good := map[string]metav1.ConditionStatus{
		v1alpha1.ConditionAccepted: metav1.ConditionTrue, v1alpha1.ConditionAvailable: metav1.ConditionTrue,
		v1alpha1.ConditionDegraded: metav1.ConditionFalse,
	}
	for _, condition := range c.Status.Conditions {
		if want, known := good[condition.Type]; known && condition.Status != want {
			p.Problems = append(p.Problems, sentence(condition))
		}
	}
	if c.Status.Rollout == nil {
		return p
	}
	p.Rollout = &Rollout{Name: c.Status.Rollout.Name, Phase: c.Status.Rollout.Phase, Stage: c.Status.Rollout.Stage}
	for i := range rollouts {
		if r := &rollouts[i]; r.Name == c.Status.Rollout.Name {
			*p.Rollout = Rollout{Name: r.Name, Phase: r.Status.Phase, Stage: r.Status.Stage, State: r.Spec.State, Verdict: r.Status.Verdict,
				Stages: r.Status.Stages, Failed: r.Status.FailedNodes}
		}
	}
	return p
}

func sentence(c metav1.Condition) string {
	text := c.Type + " " + string(c.Status) + ", " + c.Reason
	if c.Message != "" {
		text += ": " + c.Message
	}
	return text
}

// bad says whether a rollout stands still until a person acts, or has failed.
func (r *Rollout) bad() bool {
	return r.Phase == v1alpha1.RolloutBlocked || r.Verdict == v1alpha1.VerdictFailed
}

func nodeOf(n *v1alpha1.NodeRuleSet, seen map[string]time.Time, now time.Time) Node {
	s := &n.Status
	out := Node{Name: n.Name, Policy: n.Spec.Policy.Name, Mode: s.Mode, Revision: s.AppliedRevision, Generation: n.Generation,
		Programmed: s.ObservedGeneration, Counts: s.Programmed, Digest: s.RulesDigest, Limitations: s.Limitations}
	if s.Revision != nil {
		out.Phase = s.Revision.Phase
	}
	for _, c := range s.Capabilities {
		if c.Supported {
			out.Supported = append(out.Supported, c.Mode)
		}
	}
	out.State, out.Well, out.Message = stateOf(s.Conditions)
	if at, known := seen[n.Name]; known {
		age := max(0, now.Sub(at))
		seconds := int64(age / time.Second)
		out.SeenSeconds = &seconds
		if age > patience {
			out.State, out.Well, out.Message = NotReporting, false, "the agent has not renewed its NodeHeartbeat; the kernel has the rules it had"
		}
	}
	return out
}

// stateOf chooses the condition that matters most.
func stateOf(conditions []metav1.Condition) (state string, well bool, message string) {
	programmed := meta.FindStatusCondition(conditions, v1alpha1.ConditionProgrammed)
	if programmed == nil {
		return v1alpha1.ReasonPending, false, "the agent has reported nothing"
	}
	switch degraded := meta.FindStatusCondition(conditions, v1alpha1.ConditionDegraded); {
	case programmed.Reason == v1alpha1.ReasonCleanedUp || programmed.Reason == v1alpha1.ReasonGivenBack:
		return programmed.Reason, true, ""
	case programmed.Status != metav1.ConditionTrue:
		return programmed.Reason, false, programmed.Message
	case degraded != nil && degraded.Status == metav1.ConditionTrue:
		return degraded.Reason, false, degraded.Message
	}
	return programmed.Reason, true, ""
}
