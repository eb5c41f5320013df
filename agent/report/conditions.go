// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// maxMessage bounds a condition's message, in bytes: it must be readable, and
// errors of thousands of Services must not make the object large.
const maxMessage = 1024

// maxSentence bounds one cause in the message of Degraded, in bytes: a long one leaves
// room for others.
const maxSentence = 384

// MaxRevisionError bounds what is said of a revision that is not verified, in bytes.
const MaxRevisionError = 512

// MaxCapabilityMessage bounds what is said of a mode, in bytes.
const MaxCapabilityMessage = 256

// StatusOf makes the NodeRuleSet's status of a Snapshot. Messages hold no
// counts: they would make every change of a Service a write to the API.
func StatusOf(s Snapshot, previous []metav1.Condition, now metav1.Time) v1alpha1.NodeRuleSetStatus {
	status := v1alpha1.NodeRuleSetStatus{
		Mode: s.Mode(), Revision: s.Revision, Capabilities: s.Capabilities, Limitations: limitations(s.Limitations), KubeProxy: s.KubeProxy}
	if p := s.Programmed; p != nil {
		if p.Node != nil {
			status.ObservedGeneration = s.observedGeneration()
			policy := p.Node.Spec.Policy
			status.Policy, status.AppliedRevision = &policy, p.Node.Spec.Revision
		}
		status.RulesDigest = model.FormatDigest(p.Digest)
		status.Programmed = &v1alpha1.ProgrammedCounts{
			Slices:    int32(p.Slices),
			Services:  int32(p.Counts.Services),
			Frontends: int32(p.Counts.Frontends),
			Endpoints: int32(p.Counts.Endpoints),
		}
	}
	if s.Repairs.Count > 0 {
		status.Repairs = &v1alpha1.RepairCounts{Count: s.Repairs.Count, LastTime: metav1.NewTime(s.Repairs.Last.Truncate(time.Second))}
	}
	if s.Problem(RemovalHeld) != nil {
		status.Held = &v1alpha1.HeldCounts{Slices: int32(s.Held.Slices), Endpoints: int32(s.Held.Endpoints)}
	}
	conditions := []metav1.Condition{accepted(s), programmed(s), degraded(s)}
	if c, ok := replaced(s, previous); ok {
		conditions = append(conditions, c)
	}
	for _, c := range conditions {
		c.Message = Truncate(OneLine(c.Message), maxMessage)
		c.ObservedGeneration = s.Node.Generation
		c.LastTransitionTime = now
		for _, p := range previous {
			if p.Type == c.Type && p.Status == c.Status {
				c.LastTransitionTime = p.LastTransitionTime
			}
		}
		status.Conditions = append(status.Conditions, c)
	}
	return status
}

func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

func accepted(s Snapshot) metav1.Condition {
	const kind = v1alpha1.ConditionAccepted
	unsupported, settings, reverted := s.Problem(ModeUnsupported), s.Problem(InvalidSettings), s.Problem(RevisionReverted)
	switch {
	case !s.isSelected():
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonNotSelected, "No ProxyConfig selects this node.")
	case unsupported != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonModeUnsupported, Problem{ModeUnsupported, unsupported}.sentence())
	case reverted != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonRevisionReverted, Problem{RevisionReverted, reverted}.sentence())
	case settings != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonInvalid, "Left out: "+settings.Error())
	}
	return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonAccepted, "The policy is in effect on this node.")
}

func programmed(s Snapshot) metav1.Condition {
	const kind = v1alpha1.ConditionProgrammed
	failed, cleanup, reverted := s.Problem(KernelError), s.Problem(NodeCleanup), s.Problem(RevisionReverted)
	switch {
	case s.leaves() && !s.FromAPI:
		return condition(kind, metav1.ConditionUnknown, v1alpha1.ReasonFromCheckpoint, "The apiserver has not answered yet whether to remove the rules.")
	case cleanup != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonCleanUpFailed, Problem{NodeCleanup, cleanup}.sentence())
	case s.leaves():
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonCleanedUp, "The node holds no rules.")
	case failed != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonKernelError, Problem{KernelError, failed}.sentence())
	case s.Released:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonGivenBack, "kube-proxy serves the node, which holds no rules of the agent.")
	case s.Programmed == nil && s.Problem(ModeUnsupported) != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonModeUnsupported, "Nothing is programmed, see the condition Accepted.")
	case s.Programmed == nil:
		return condition(kind, metav1.ConditionUnknown, v1alpha1.ReasonProgramming, "The first programming has not ended yet.")
	case !s.FromAPI:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonFromCheckpoint, "The kernel holds the rules stored on the node; the apiserver has not answered yet.")
	case s.Programmed.Node == nil || !s.Programmed.Node.Same(s.rules()):
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonProgramming, "The kernel holds the rules of an older generation.")
	case reverted != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonRevisionReverted, Problem{RevisionReverted, reverted}.sentence())
	}
	return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "The kernel holds the desired rules.")
}

// degraded names all problems, the most severe first. The reason is that one's.
func degraded(s Snapshot) metav1.Condition {
	const kind = v1alpha1.ConditionDegraded
	var reasons, causes []string
	for _, p := range causesOf(s) {
		reasons = append(reasons, p.Kind.reason())
		causes = append(causes, p.sentence())
	}
	if len(causes) == 0 {
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonHealthy, "Nothing is wrong.")
	}
	return condition(kind, metav1.ConditionTrue, reasons[0], joinBounded(causes))
}

// causesOf returns the problems that degrade a node, the most severe first.
func causesOf(s Snapshot) []Problem {
	var out []Problem
	limited := len(s.Limitations) > 0
	add := func() {
		if limited {
			out, limited = append(out, Problem{Unsupported, errors.New(summary(s.Limitations))}), false
		}
	}
	for _, p := range s.Problems {
		if p.Kind > Unsupported {
			add()
		}
		if p.Kind.reason() != "" {
			out = append(out, p)
		}
	}
	add()
	return out
}

// joinBounded joins sentences in at most maxMessage bytes, and says how many more there
// are.
func joinBounded(sentences []string) string {
	var b strings.Builder
	for i, s := range sentences {
		more := fmt.Sprintf(" And %d more.", len(sentences)-i)
		if len(sentences) > 1 {
			s = Truncate(s, maxSentence)
		}
		if i > 0 {
			s = " " + s
		}
		room := maxMessage - b.Len()
		if i < len(sentences)-1 {
			room -= len(more)
		}
		if i > 0 && len(s) > room {
			b.WriteString(more)
			break
		}
		b.WriteString(s)
	}
	return b.String()
}

// OneLine joins the lines of joined errors.
func OneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// Truncate returns s in at most limit bytes, and shows where something is missing.
func Truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const more = " ..."
	return strings.ToValidUTF8(s[:limit-len(more)], "") + more
}
