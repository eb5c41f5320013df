// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	"context"
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
	"github.com/fairlead-proxy/fairlead/rules/takeover"
)

// defaultLimit is that of a ProxyConfig of an apiserver that does not know the field.
const defaultLimit = 10

// next decides the next step. The ProxyRollout with the name of the current revision is the
// only one that gives nodes something, so two never overlap.
func (r *Reconciler) next(ctx context.Context, s *state) (step, error) {
	var n step
	target := rollout.RevisionOf(s.config).Name
	var current *v1alpha1.ProxyRollout
	var others []*v1alpha1.ProxyRollout
	for _, o := range s.rollouts {
		if o.Name == target && rollout.IsStaged(s.config) {
			current = o
		} else {
			others = append(others, o)
		}
	}
	s.prune(&n, others)
	if !rollout.IsStaged(s.config) {
		s.supersede(&n, others, "The strategy is AllAtOnce")
		return n, nil
	}
	switch {
	case current != nil && isSuperseded(current): // the policy has come back
		n.remove = append(n.remove, current)
		n.again = period
	case current == nil && s.differs(target):
		n.create, n.again = target, period
	case current == nil:
		s.supersede(&n, others, "All nodes have the revision "+target)
	case current.Status.ToRevision == "":
		n.status = append(n.status, update{current, s.begin(current, others)})
		n.again = period
	default:
		s.supersede(&n, others, "The revision "+target+" has come")
		if err := r.proceed(ctx, s, &n, current); err != nil {
			return n, err
		}
	}
	return n, nil
}

// differs says that a node is to have another revision.
func (s *state) differs(target string) bool {
	for _, m := range s.members {
		if m.Assigned != "" && m.Assigned != target {
			return true
		}
	}
	return false
}

// supersede ends rollouts of other revisions.
func (s *state) supersede(n *step, others []*v1alpha1.ProxyRollout, why string) {
	for _, o := range others {
		if isSuperseded(o) {
			continue
		}
		status := *o.Status.DeepCopy()
		if status.Verdict == "" {
			status.Phase, status.Stage = v1alpha1.RolloutSuperseded, ""
			set(&status, s, o, v1alpha1.ConditionProgressing, metav1.ConditionFalse, string(v1alpha1.RolloutSuperseded), why)
		}
		set(&status, s, o, v1alpha1.ConditionSuperseded, metav1.ConditionTrue, "NewRevision", why)
		n.status = append(n.status, update{o, status})
	}
}

// prune removes the oldest rollouts that are superseded, beyond the limit.
func (s *state) prune(n *step, others []*v1alpha1.ProxyRollout) {
	limit := int(ptr.Deref(s.config.Spec.RevisionHistoryLimit, defaultLimit))
	kept := 0
	for _, o := range others {
		if !isSuperseded(o) {
			continue
		}
		if kept++; kept > limit {
			n.remove = append(n.remove, o)
		}
	}
}

func isSuperseded(o *v1alpha1.ProxyRollout) bool {
	return apimeta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionSuperseded)
}

// begin returns the first status of a rollout: what it returns to, and its strategy, are
// stored before any node is touched.
func (s *state) begin(o *v1alpha1.ProxyRollout, others []*v1alpha1.ProxyRollout) v1alpha1.ProxyRolloutStatus {
	var previous *rollout.Previous
	for _, p := range others {
		if !isSuperseded(p) && p.Status.ToRevision != "" {
			previous = &rollout.Previous{From: p.Status.FromRevision, To: p.Status.ToRevision, Succeeded: p.Status.Verdict == v1alpha1.VerdictSucceeded}
			break
		}
	}
	assigned := map[string]int{}
	for _, m := range s.members {
		if m.Assigned != "" {
			assigned[m.Assigned]++
		}
	}
	status := v1alpha1.ProxyRolloutStatus{
		ObservedGeneration: o.Generation,
		Config:             s.config.Name,
		Phase:              v1alpha1.RolloutPending,
		FromRevision:       rollout.ReturnTo(o.Name, s.config.Status.StableRevision, previous, assigned),
		ToRevision:         o.Name,
		Strategy:           s.config.Spec.Rollout.DeepCopy(),
		StartTime:          &metav1.Time{Time: s.now},
	}
	set(&status, s, o, v1alpha1.ConditionPrechecked, metav1.ConditionUnknown, "Pending", "The nodes have not been checked yet")
	return status
}

// proceed decides what the nodes get.
func (r *Reconciler) proceed(ctx context.Context, s *state, n *step, o *v1alpha1.ProxyRollout) error {
	status := *o.Status.DeepCopy()
	retry(&status, s, o)
	defer func() { n.status = append(n.status, update{o, status}) }()
	if !apimeta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionPrechecked) && status.Verdict == "" && o.Spec.State != v1alpha1.StateAbort {
		reason, message, err := r.precheck(ctx, s, status)
		if err != nil {
			return err
		}
		if reason == v1alpha1.ReasonKubeProxyUnknown {
			set(&status, s, o, v1alpha1.ConditionPrechecked, metav1.ConditionUnknown, reason, message)
			n.again = period
			return nil
		}
		if reason != "" {
			set(&status, s, o, v1alpha1.ConditionPrechecked, metav1.ConditionFalse, reason, message)
			set(&status, s, o, v1alpha1.ConditionProgressing, metav1.ConditionFalse, string(v1alpha1.RolloutBlocked), message)
			status.Phase, status.Stage, status.ObservedGeneration = v1alpha1.RolloutBlocked, "", o.Generation
			n.again = slowPeriod
			return nil
		}
		set(&status, s, o, v1alpha1.ConditionPrechecked, metav1.ConditionTrue, "Fits", "All nodes can run the revision")
	}
	in, err := s.rollout(o, status)
	if err != nil {
		return err
	}
	d := rollout.Decide(in)
	s.report(&status, o, d)
	n.assign = d.Assign
	n.again = period
	switch d.Phase {
	case v1alpha1.RolloutPaused, v1alpha1.RolloutAwaitingApproval, v1alpha1.RolloutSucceeded, v1alpha1.RolloutRolledBack:
		n.again = slowPeriod
	}
	return nil
}

// retry forgets the verdict, if a person has said so since it was given.
func retry(status *v1alpha1.ProxyRolloutStatus, s *state, o *v1alpha1.ProxyRollout) {
	ended := status.Verdict == v1alpha1.VerdictFailed || status.Verdict == v1alpha1.VerdictAborted
	if o.Spec.State != v1alpha1.StateRetry || !ended || o.Generation == status.ObservedGeneration {
		return
	}
	status.Verdict, status.FailedNodes, status.Stages = "", nil, nil
	status.StartTime = &metav1.Time{Time: s.now}
}

// precheck returns why no node may be touched; empty: nothing.
func (r *Reconciler) precheck(ctx context.Context, s *state, status v1alpha1.ProxyRolloutStatus) (reason, message string, err error) {
	if from := status.FromRevision; from != "" {
		problem, err := r.Nodes.Usable(ctx, s.config, from)
		if err != nil {
			return "", "", err
		}
		if problem != nil {
			return "RevisionUnusable", fmt.Sprintf("The revision %s cannot be returned to: %v. "+
				"Set spec.rollout.strategy of the ProxyConfig to AllAtOnce to program the policy without a way back", from, problem), nil
		}
	}
	capabilities := map[string][]v1alpha1.ModeCapability{}
	var sets []*v1alpha1.NodeRuleSet
	for name := range s.nodes {
		capabilities[name] = s.sets[name].Status.Capabilities
		sets = append(sets, s.sets[name])
	}
	if message := rollout.Precheck(s.config.Spec, capabilities); message != "" {
		return "NodesUnfit", message, nil
	}
	reason, message = takeover.Precheck(s.config, sets)
	return reason, message, nil
}

// rollout returns what is decided from.
func (s *state) rollout(o *v1alpha1.ProxyRollout, status v1alpha1.ProxyRolloutStatus) (rollout.Rollout, error) {
	strategy, err := rollout.StrategyOf(ptr.Deref(status.Strategy, v1alpha1.RolloutOptions{}), status.ToRevision, s.members)
	if err != nil {
		return rollout.Rollout{}, fmt.Errorf("ProxyRollout %s: %w", o.Name, err)
	}
	strategy.Paused = ptr.Deref(s.config.Spec.Rollout.Paused, false)
	in := rollout.Rollout{From: status.FromRevision, To: status.ToRevision, Strategy: strategy, Verdict: status.Verdict,
		Approved: map[string]bool{}, Members: s.members, Now: s.now, ActiveSince: s.now}
	if status.StartTime != nil {
		in.Since = status.StartTime.Time
	}
	if c := apimeta.FindStatusCondition(status.Conditions, v1alpha1.ConditionProgressing); c != nil && c.Status == metav1.ConditionTrue {
		in.ActiveSince = c.LastTransitionTime.Time
	}
	for _, name := range o.Spec.ApprovedStages {
		in.Approved[name] = true
	}
	switch o.Spec.State {
	case v1alpha1.StatePause:
		in.Order = rollout.Pause
	case v1alpha1.StateAbort:
		in.Order = rollout.Abort
	case v1alpha1.StatePromote:
		in.Order = rollout.Promote
	}
	return in, nil
}
