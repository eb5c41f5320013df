// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

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
	"github.com/fairlead-proxy/fairlead/rules/compile"
)

const (
	maxFailingNodes = 10
	maxMessage      = 256
)

// nodeState is the state of one node of a policy.
type nodeState struct {
	name string

	// forwards: the kernel has rules of some generation.
	forwards bool

	// programmed: the kernel has the rules of the policy's current generation.
	programmed bool

	// failed is the condition that reports a failure, degraded the one that
	// reports a degradation.
	failed, degraded *metav1.Condition

	// ready is the Ready condition of the Node. A node that is not ready is not
	// expected to report.
	ready bool
}

// pending means that a report on the current generation is expected.
func (n nodeState) pending() bool { return !n.programmed && n.failed == nil && n.ready }

// input is what the status of a ProxyConfig depends on.
type input struct {
	config  *v1alpha1.ProxyConfig
	configs []v1alpha1.ProxyConfig
	nodes   []*corev1.Node
	sets    map[string]*v1alpha1.NodeRuleSet
}

// computeStatus returns the status of in.config.
func computeStatus(in input) v1alpha1.ProxyConfigStatus {
	states, lostTo := survey(in)
	status := v1alpha1.ProxyConfigStatus{
		ObservedGeneration: in.config.Generation,
		Nodes:              &v1alpha1.NodeCounts{Selected: int32(len(states))},
		// The API's default conditions have no time: use the current one.
		Conditions: slices.DeleteFunc(slices.Clone(in.config.Status.Conditions), func(c metav1.Condition) bool {
			return c.Reason == v1alpha1.ReasonPending
		}),
	}
	for _, n := range states {
		switch {
		case n.programmed:
			status.Nodes.Programmed++
		case n.failed != nil:
			status.Nodes.Failing++
			if len(status.FailingNodes) < maxFailingNodes {
				status.FailingNodes = append(status.FailingNodes, v1alpha1.FailingNode{
					Name: n.name, Reason: n.failed.Reason, Message: truncate(n.failed.Message)})
			}
		}
	}
	for _, c := range []metav1.Condition{
		accepted(in.config, len(states), lostTo),
		available(states),
		progressing(in.config, states),
		degraded(states),
	} {
		c.ObservedGeneration = in.config.Generation
		c.Message = truncate(c.Message)
		apimeta.SetStatusCondition(&status.Conditions, c)
	}
	return status
}

// survey returns the nodes whose effective policy this is, sorted by name, and the
// number of selected nodes that use each other policy.
func survey(in input) (states []nodeState, lostTo map[string]int) {
	lostTo = map[string]int{}
	for _, node := range in.nodes {
		// An invalid selector is reported in Accepted of its own ProxyConfig.
		winner, losers, _ := compile.SelectConfig(node, in.configs)
		switch {
		case winner == nil:
		case winner.Name == in.config.Name:
			states = append(states, stateOf(in.config, node, in.sets[node.Name]))
		case slices.ContainsFunc(losers, func(l *v1alpha1.ProxyConfig) bool { return l.Name == in.config.Name }):
			lostTo[winner.Name]++
		}
	}
	slices.SortFunc(states, func(a, b nodeState) int { return cmp.Compare(a.name, b.name) })
	return states, lostTo
}

func stateOf(config *v1alpha1.ProxyConfig, node *corev1.Node, set *v1alpha1.NodeRuleSet) nodeState {
	s := nodeState{name: node.Name, ready: isReady(node)}
	if set == nil {
		return s
	}
	s.forwards = set.Status.Programmed != nil
	wanted := v1alpha1.PolicyReference{Name: config.Name, Generation: config.Generation}
	if set.Spec.Policy != wanted || set.Status.ObservedGeneration != set.Generation {
		// A report on another generation of the NodeRuleSet does not count, except
		// a failure on the current one.
		if c := failure(set); c != nil && c.ObservedGeneration == set.Generation && s.ready && set.Spec.Policy == wanted {
			s.failed = c
		}
		return s
	}
	if c := failure(set); c != nil {
		if s.ready {
			s.failed = c
		}
		return s
	}
	s.programmed = apimeta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionProgrammed) &&
		set.Status.Policy != nil && *set.Status.Policy == wanted
	if c := apimeta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionDegraded); c != nil && c.Status == metav1.ConditionTrue {
		s.degraded = c
	}
	return s
}

// failure returns the condition that reports a failure of the agent. A first sync
// in progress is not a failure.
func failure(set *v1alpha1.NodeRuleSet) *metav1.Condition {
	for _, t := range []string{v1alpha1.ConditionAccepted, v1alpha1.ConditionProgrammed} {
		c := apimeta.FindStatusCondition(set.Status.Conditions, t)
		if c != nil && c.Status == metav1.ConditionFalse && c.Reason != v1alpha1.ReasonProgramming {
			return c
		}
	}
	return nil
}

func isReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func accepted(config *v1alpha1.ProxyConfig, won int, lostTo map[string]int) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue}
	lost, names := 0, make([]string, 0, len(lostTo))
	for name, n := range lostTo {
		lost += n
		names = append(names, name)
	}
	slices.Sort(names)
	_, err := config.Spec.NodeSelector.Selector()
	switch {
	case err != nil:
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonInvalid
		c.Message = fmt.Sprintf("spec.nodeSelector is invalid and selects no node: %v", err)
	case lost > 0:
		if won == 0 {
			c.Status = metav1.ConditionFalse
		}
		c.Reason = v1alpha1.ReasonOverridden
		c.Message = fmt.Sprintf("In effect on %d of %d selected nodes; ProxyConfig %s has a higher priority or is older",
			won, won+lost, strings.Join(names, ", "))
	case won == 0:
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonNoNodes
		c.Message = "spec.nodeSelector matches no node"
	default:
		c.Reason, c.Message = v1alpha1.ReasonAccepted, "In effect on "+nodes(won)
	}
	return c
}

func available(states []nodeState) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionAvailable, Status: metav1.ConditionTrue}
	var failing, waiting []string
	for _, n := range states {
		switch {
		case n.forwards || !n.ready:
		case n.failed != nil:
			failing = append(failing, n.name)
		default:
			waiting = append(waiting, n.name)
		}
	}
	switch {
	case len(states) == 0:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, v1alpha1.ReasonNoNodes, "No node is selected"
	case len(failing) > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonNodesFailing, "No rules are programmed on "+some(failing)
	case len(waiting) > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, v1alpha1.ReasonNodesPending, "Waiting for the first report of "+some(waiting)
	default:
		c.Reason, c.Message = v1alpha1.ReasonAllProgrammed, "Every ready node forwards traffic"
	}
	return c
}

func progressing(config *v1alpha1.ProxyConfig, states []nodeState) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionProgressing, Status: metav1.ConditionFalse}
	var pending []string
	failing, away := 0, 0
	for _, n := range states {
		switch {
		case n.programmed:
		case n.failed != nil:
			failing++
		case n.pending():
			pending = append(pending, n.name)
		default:
			away++
		}
	}
	switch {
	case len(pending) > 0:
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonNodesPending
		c.Message = fmt.Sprintf("Waiting for generation %d on %s", config.Generation, some(pending))
	case failing > 0:
		c.Reason, c.Message = v1alpha1.ReasonNodesFailing, nodes(failing)+" failing, none progressing"
	case len(states) == 0:
		c.Reason, c.Message = v1alpha1.ReasonNoNodes, "No node is selected"
	default:
		c.Reason = v1alpha1.ReasonAllProgrammed
		c.Message = fmt.Sprintf("Generation %d is programmed on %s", config.Generation, nodes(len(states)-away))
	}
	if away > 0 {
		c.Message += fmt.Sprintf("; %s not ready", nodes(away))
	}
	return c
}

func degraded(states []nodeState) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionDegraded, Status: metav1.ConditionTrue}
	var failing, other, fallback []nodeState
	for _, n := range states {
		switch {
		case n.failed != nil:
			failing = append(failing, n)
		case n.degraded != nil && n.degraded.Reason == v1alpha1.ReasonFallbackMode:
			fallback = append(fallback, n)
		case n.degraded != nil:
			other = append(other, n)
		}
	}
	switch {
	case len(failing) > 0:
		c.Reason = v1alpha1.ReasonNodesFailing
		c.Message = fmt.Sprintf("%s failing; %s: %s", nodes(len(failing)), failing[0].name, failing[0].failed.Message)
	case len(other) > 0:
		c.Reason = other[0].degraded.Reason
		c.Message = fmt.Sprintf("%s degraded; %s: %s", nodes(len(other)), other[0].name, other[0].degraded.Message)
	case len(fallback) > 0:
		c.Reason = v1alpha1.ReasonFallbackMode
		c.Message = fmt.Sprintf("Running a fallback mode: %s; %s: %s", some(names(fallback)), fallback[0].name, fallback[0].degraded.Message)
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonHealthy, "No node reports a failure"
	}
	return c
}

func names(states []nodeState) []string {
	out := make([]string, 0, len(states))
	for _, n := range states {
		out = append(out, n.name)
	}
	return out
}

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// some lists the first few of many names.
func some(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

func truncate(message string) string {
	if utf8.RuneCountInString(message) <= maxMessage {
		return message
	}
	return string([]rune(message)[:maxMessage-3]) + "..."
}
