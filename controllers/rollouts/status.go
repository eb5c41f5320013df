// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
	"github.com/fairlead-proxy/fairlead/rules/takeover"
)

const (
	maxListed  = 10
	maxMessage = 256

	// lastStage is the name of the stage of all nodes that the others leave.
	lastStage = "rest"
)

// report writes a decision into a status.
func (s *state) report(status *v1alpha1.ProxyRolloutStatus, o *v1alpha1.ProxyRollout, d rollout.Decision) {
	status.ObservedGeneration = o.Generation
	ended := status.Verdict != ""
	status.Phase, status.Verdict, status.Stage = d.Phase, d.Verdict, ""
	if d.Verdict == "" {
		status.Stage = cmp.Or(d.Stage, lastStage)
	}
	if !ended { // afterwards the nodes show nothing of it
		status.Stages = s.stages(status.Stages, status.Stage, d.Stages)
		status.FailedNodes = nil
	}
	for _, name := range d.Failed {
		if len(status.FailedNodes) < maxListed && !slices.ContainsFunc(status.FailedNodes, func(n v1alpha1.FailingNode) bool { return n.Name == name }) {
			status.FailedNodes = append(status.FailedNodes, s.failed(name))
		}
	}
	status.SkippedNodes, status.LaggingNodes = few(d.Skipped), few(d.Lagging)
	s.conditions(status, o, d)
}

// stages returns the counts of each stage. A stage begins when it is the current one for the first time.
func (s *state) stages(before []v1alpha1.RolloutStageStatus, current string, counts []rollout.Counts) []v1alpha1.RolloutStageStatus {
	var out []v1alpha1.RolloutStageStatus
	for _, c := range counts {
		stage := v1alpha1.RolloutStageStatus{Name: cmp.Or(c.Name, lastStage), Total: int32(c.Total), Updated: int32(c.Updated),
			Verified: int32(c.Verified), Failed: int32(c.Failed)}
		for _, b := range before {
			if b.Name == stage.Name {
				stage.StartTime = b.StartTime
			}
		}
		if stage.StartTime == nil && stage.Name == current {
			stage.StartTime = &metav1.Time{Time: s.now}
		}
		out = append(out, stage)
	}
	return out
}

// failed says why a node has failed.
func (s *state) failed(name string) v1alpha1.FailingNode {
	n := v1alpha1.FailingNode{Name: name, Reason: "NotVerified", Message: "The agent has not verified the revision in time"}
	set := s.sets[name]
	c := failure(set)
	i := slices.IndexFunc(s.members, func(m rollout.Member) bool { return m.Name == name })
	m := s.members[i]
	obstacle, why := takeover.Obstacle(set)
	switch r := set.Status.Revision; {
	case m.Reverted && r.LastError != "":
		n.Reason, n.Message = string(r.Phase), r.LastError
	case m.Reverted:
		n.Reason, n.Message = string(r.Phase), "The agent does not say why"
	case !m.Ready:
		n.Reason, n.Message = "NodeNotReady", "The node is not ready since it was given the revision"
	case c != nil:
		n.Reason, n.Message = c.Reason, c.Message
	case !m.VerifiedAt.IsZero() && obstacle != "":
		n.Reason, n.Message = obstacle, why
	case !m.TroubledSince.IsZero():
		n.Reason, n.Message = v1alpha1.ReasonAgentsNotReady, "The agent does not report"
	}
	n.Message = truncate(n.Message)
	return n
}

// conditions writes all conditions but Prechecked and Superseded.
func (s *state) conditions(status *v1alpha1.ProxyRolloutStatus, o *v1alpha1.ProxyRollout, d rollout.Decision) {
	phase := string(d.Phase)
	yes := func(b bool) metav1.ConditionStatus {
		if b {
			return metav1.ConditionTrue
		}
		return metav1.ConditionFalse
	}
	message := describe(*status)
	active := d.Phase == v1alpha1.RolloutUpdating || d.Phase == v1alpha1.RolloutVerifying
	set(status, s, o, v1alpha1.ConditionProgressing, yes(active), phase, message)
	soaked := d.Verdict == v1alpha1.VerdictSucceeded || d.Verdict == "" && d.Stage == ""
	set(status, s, o, v1alpha1.ConditionSoaked, yes(soaked), phase, "All named stages have soaked: "+fmt.Sprint(soaked))
	switch {
	case d.Verdict == v1alpha1.VerdictSucceeded:
		set(status, s, o, v1alpha1.ConditionSucceeded, metav1.ConditionTrue, string(d.Verdict), "All nodes that are ready run the revision")
	case d.Verdict != "":
		set(status, s, o, v1alpha1.ConditionSucceeded, metav1.ConditionFalse, string(d.Verdict), message)
	default:
		set(status, s, o, v1alpha1.ConditionSucceeded, metav1.ConditionUnknown, phase, message)
	}
	set(status, s, o, v1alpha1.ConditionRolledBack, yes(d.Phase == v1alpha1.RolloutRolledBack), phase, message)
}

// set sets a condition, with the time of the decision.
func set(status *v1alpha1.ProxyRolloutStatus, s *state, o *v1alpha1.ProxyRollout, kind string, is metav1.ConditionStatus, reason, message string) {
	c := metav1.Condition{Type: kind, Status: is, Reason: reason, Message: truncate(message), ObservedGeneration: o.Generation}
	if before := apimeta.FindStatusCondition(status.Conditions, kind); before == nil || before.Status != is {
		c.LastTransitionTime = metav1.Time{Time: s.now}
	}
	apimeta.SetStatusCondition(&status.Conditions, c)
}

// describe says in words where a rollout is.
func describe(status v1alpha1.ProxyRolloutStatus) string {
	text := map[v1alpha1.RolloutPhase]string{
		v1alpha1.RolloutPending:          "The rollout of " + status.ToRevision + " begins",
		v1alpha1.RolloutUpdating:         "Nodes of the stage " + status.Stage + " get the revision",
		v1alpha1.RolloutVerifying:        "Nodes of the stage " + status.Stage + " verify the revision",
		v1alpha1.RolloutSoaking:          "The stage " + status.Stage + " is watched",
		v1alpha1.RolloutAwaitingApproval: "Add " + status.Stage + " to spec.approvedStages to go on",
		v1alpha1.RolloutPaused:           "No more nodes get the revision",
		v1alpha1.RolloutRollingBack:      "Nodes return to " + status.FromRevision,
		v1alpha1.RolloutRolledBack:       "All nodes are to have " + status.FromRevision + ". Change the ProxyConfig, or set spec.state: Retry",
		v1alpha1.RolloutSucceeded:        "All nodes that are ready run the revision",
		v1alpha1.RolloutSuperseded:       "The ProxyConfig asks for another revision",
	}[status.Phase]
	if c := apimeta.FindStatusCondition(status.Conditions, v1alpha1.ConditionPrechecked); status.Phase == v1alpha1.RolloutBlocked && c != nil {
		text = c.Message
	}
	if len(status.FailedNodes) == 0 {
		return text
	}
	n := status.FailedNodes[0]
	return fmt.Sprintf("%s; node %s failed it: %s: %s", text, n.Name, n.Reason, n.Message)
}

// eventType is Warning for what a person should look at.
func eventType(status v1alpha1.ProxyRolloutStatus) string {
	switch status.Phase {
	case v1alpha1.RolloutBlocked, v1alpha1.RolloutRollingBack, v1alpha1.RolloutRolledBack:
		return corev1.EventTypeWarning
	case v1alpha1.RolloutPaused:
		if status.Verdict != "" {
			return corev1.EventTypeWarning
		}
	}
	return corev1.EventTypeNormal
}

func few(names []string) []string { return names[:min(len(names), maxListed)] }

func truncate(message string) string {
	if utf8.RuneCountInString(message) <= maxMessage {
		return message
	}
	return strings.TrimSpace(string([]rune(message)[:maxMessage-3])) + "..."
}
