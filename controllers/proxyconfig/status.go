// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

const (
	maxListedNodes = 10
	maxMessage     = 256
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

	// revision is what the node says of its revision.
	revision rollout.Node

	// ready is the Ready condition of the Node. A node that is not ready is not
	// expected to report.
	ready bool

	// due is since when a report of the agent is due; zero: none is. silent: for so long
	// that the agent counts as not ready, and what it reported before no longer counts.
	due    time.Time
	silent bool
}

// pending means that a report on the current generation is expected.
func (n nodeState) pending() bool { return !n.programmed && n.failed == nil && n.ready && !n.silent }

// input is what the status of a ProxyConfig depends on.
type input struct {
	config  *v1alpha1.ProxyConfig
	configs []v1alpha1.ProxyConfig
	nodes   []*corev1.Node
	sets    map[string]*v1alpha1.NodeRuleSet
	rollout *v1alpha1.ProxyRollout // of the current spec; nil: there is none
	renewed map[string]time.Time   // heartbeats of the agents

	protected metav1.Condition // of the whole installation

	now      time.Time
	patience time.Duration // after which an agent that does not report is not ready
}

// computeStatus returns the status of in.config, and after which time it may change by
// itself; 0: never.
func computeStatus(in input) (v1alpha1.ProxyConfigStatus, time.Duration) {
	states, lostTo := survey(in)
	status := v1alpha1.ProxyConfigStatus{
		ObservedGeneration: in.config.Generation,
		TargetRevision:     rollout.RevisionOf(in.config).Name,
		StableRevision:     stable(in, states),
		Rollout:            summary(in.rollout),
		Nodes:              &v1alpha1.NodeCounts{Selected: int32(len(states))},
		// The API's default conditions have no time: use the current one.
		Conditions: slices.DeleteFunc(slices.Clone(in.config.Status.Conditions), func(c metav1.Condition) bool {
			return c.Reason == v1alpha1.ReasonPending
		}),
	}
	for _, n := range states {
		switch {
		case n.silent:
			status.Nodes.NotReady++
			if len(status.NotReadyNodes) < maxListedNodes {
				status.NotReadyNodes = append(status.NotReadyNodes, v1alpha1.NotReadyNode{Name: n.name, Since: metav1.NewTime(n.due)})
			}
		case n.programmed:
			status.Nodes.Programmed++
		case n.failed != nil:
			status.Nodes.Failing++
			if len(status.FailingNodes) < maxListedNodes {
				status.FailingNodes = append(status.FailingNodes, v1alpha1.FailingNode{
					Name: n.name, Reason: n.failed.Reason, Message: truncate(n.failed.Message)})
			}
		}
	}
	for _, c := range []metav1.Condition{
		accepted(in.config, len(states), lostTo),
		available(states),
		progressing(in.config, states, in.rollout),
		degraded(states, in.rollout),
		in.protected,
	} {
		c.ObservedGeneration = in.config.Generation
		c.Message = truncate(c.Message)
		apimeta.SetStatusCondition(&status.Conditions, c)
	}
	return status, untilSilent(states, in)
}

// untilSilent returns when the next agent would count as not ready; 0: none would.
func untilSilent(states []nodeState, in input) time.Duration {
	var next time.Duration
	for _, n := range states {
		if n.due.IsZero() || n.silent {
			continue
		}
		if wait := n.due.Add(in.patience).Sub(in.now); next == 0 || wait < next {
			next = wait
		}
	}
	return next
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
			state := stateOf(in.config, node, in.sets[node.Name])
			if set := in.sets[node.Name]; set != nil && state.ready {
				state.due = dueSince(node, set, in.renewed[node.Name])
				state.silent = in.now.Sub(state.due) >= in.patience
			}
			if state.silent {
				state.programmed, state.failed, state.degraded = false, nil, nil
			}
			states = append(states, state)
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
	s.revision = revisionOf(config, set)
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
		case n.failed != nil || n.silent:
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

func progressing(config *v1alpha1.ProxyConfig, states []nodeState, o *v1alpha1.ProxyRollout) metav1.Condition {
	if c := rolling(o); c != nil {
		return *c
	}
	c := metav1.Condition{Type: v1alpha1.ConditionProgressing, Status: metav1.ConditionFalse}
	var pending []string
	failing, away, silent := 0, 0, 0
	for _, n := range states {
		switch {
		case n.programmed:
		case n.silent:
			silent++
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
		if silent > 0 {
			c.Reason = v1alpha1.ReasonAgentsNotReady
		}
		c.Message = fmt.Sprintf("Generation %d is programmed on %s", config.Generation, nodes(len(states)-away-silent))
	}
	if silent > 0 {
		c.Message += fmt.Sprintf("; no report from %s", nodes(silent))
	}
	if away > 0 {
		c.Message += fmt.Sprintf("; %s not ready", nodes(away))
	}
	return c
}

// degraded names all causes, the most severe first. The reason is that one's.
func degraded(states []nodeState, o *v1alpha1.ProxyRollout) metav1.Condition {
	var failing, silent, other, fallback []nodeState
	for _, n := range states {
		switch {
		case n.silent:
			silent = append(silent, n)
		case n.failed != nil:
			failing = append(failing, n)
		case n.degraded != nil && n.degraded.Reason == v1alpha1.ReasonFallbackMode:
			fallback = append(fallback, n)
		case n.degraded != nil:
			other = append(other, n)
		}
	}
	var reasons, causes []string
	add := func(reason, message string, args ...any) {
		reasons, causes = append(reasons, reason), append(causes, fmt.Sprintf(message, args...))
	}
	if len(failing) > 0 {
		add(v1alpha1.ReasonNodesFailing, "%s failing; %s: %s", nodes(len(failing)), failing[0].name, failing[0].failed.Message)
	}
	if o != nil && len(o.Status.FailedNodes) > 0 {
		n := o.Status.FailedNodes[0]
		add(v1alpha1.ReasonRolloutFailing, "The revision %s has failed on %s; %s: %s: %s", o.Name, listed(len(o.Status.FailedNodes)), n.Name, n.Reason, n.Message)
	}
	if len(silent) > 0 {
		add(v1alpha1.ReasonAgentsNotReady, "The agent does not report on %s: %s", nodes(len(silent)), some(silences(silent)))
	}
	if len(other) > 0 {
		add(other[0].degraded.Reason, "%s degraded; %s: %s", nodes(len(other)), other[0].name, other[0].degraded.Message)
	}
	if len(fallback) > 0 {
		add(v1alpha1.ReasonFallbackMode, "Running a fallback mode: %s; %s: %s", some(names(fallback)), fallback[0].name, fallback[0].degraded.Message)
	}
	c := metav1.Condition{Type: v1alpha1.ConditionDegraded, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonHealthy, Message: "No node reports a failure"}
	if len(causes) > 0 {
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, reasons[0], strings.Join(causes, "; ")
	}
	return c
}

// silences names nodes, with the time of the last report.
func silences(states []nodeState) []string {
	out := make([]string, 0, len(states))
	for _, n := range states {
		out = append(out, fmt.Sprintf("%s since %s", n.name, n.due.UTC().Format(time.RFC3339)))
	}
	return out
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
func some(names []string) string { return rollout.FirstNames(names, 3) }

func truncate(message string) string {
	if utf8.RuneCountInString(message) <= maxMessage {
		return message
	}
	return string([]rune(message)[:maxMessage-3]) + "..."
}
