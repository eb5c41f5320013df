// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
	"github.com/fairlead-proxy/fairlead/rules/takeover"
)

// state is what the API has of a ProxyConfig's rollouts at some moment.
type state struct {
	config   *v1alpha1.ProxyConfig
	rollouts []*v1alpha1.ProxyRollout // the latest one first
	nodes    map[string]*corev1.Node  // that the ProxyConfig is the policy of
	sets     map[string]*v1alpha1.NodeRuleSet
	members  []rollout.Member
	now      time.Time // in whole seconds, as in the API
}

// read reads the state of a ProxyConfig; nil: there is no such ProxyConfig, or it has no rollouts.
// It lists, because the controller has no right to get.
func (r *Reconciler) read(ctx context.Context, from client.Reader, name string) (*state, error) {
	s := &state{nodes: map[string]*corev1.Node{}, sets: map[string]*v1alpha1.NodeRuleSet{}, now: r.Clock.Now().Truncate(time.Second)}
	var configs v1alpha1.ProxyConfigList
	if err := from.List(ctx, &configs); err != nil {
		return nil, fmt.Errorf("list ProxyConfigs: %w", err)
	}
	for i := range configs.Items {
		if c := &configs.Items[i]; c.Name == name && c.DeletionTimestamp == nil {
			s.config = c
		}
	}
	if s.config == nil {
		return nil, nil
	}
	var rollouts v1alpha1.ProxyRolloutList
	if err := from.List(ctx, &rollouts); err != nil {
		return nil, fmt.Errorf("list ProxyRollouts: %w", err)
	}
	for i := range rollouts.Items {
		if o := &rollouts.Items[i]; ssa.IsOurs(o, s.config) && o.DeletionTimestamp == nil {
			s.rollouts = append(s.rollouts, o)
		}
	}
	slices.SortFunc(s.rollouts, func(a, b *v1alpha1.ProxyRollout) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	if !rollout.IsStaged(s.config) {
		if len(s.rollouts) == 0 {
			return nil, nil
		}
		return s, nil
	}
	return s, r.readNodes(ctx, from, s, configs.Items)
}

// readNodes reads the nodes of a ProxyConfig.
func (r *Reconciler) readNodes(ctx context.Context, from client.Reader, s *state, configs []v1alpha1.ProxyConfig) error {
	var nodes corev1.NodeList
	var sets v1alpha1.NodeRuleSetList
	for _, list := range []client.ObjectList{&nodes, &sets} {
		if err := from.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("list %T: %w", list, err)
		}
	}
	var beats v1alpha1.NodeHeartbeatList
	if err := r.List(ctx, &beats, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list NodeHeartbeats: %w", err)
	}
	silent := r.silence.observe(beats.Items, s.now, r.Patience)
	for i := range sets.Items {
		s.sets[sets.Items[i].Name] = &sets.Items[i]
	}
	for i := range nodes.Items {
		node := &nodes.Items[i]
		// An invalid selector is reported in Accepted of its own ProxyConfig.
		winner, _, _ := compile.SelectConfig(node, configs)
		set := s.sets[node.Name]
		if winner == nil || winner.Name != s.config.Name || set == nil || set.Spec.Policy.Name != s.config.Name {
			continue
		}
		s.nodes[node.Name] = node
		s.members = append(s.members, memberOf(node, set, silent[node.Name], s.now))
	}
	return nil
}

// memberOf returns what the API says of a node. silent is since when its agent does not
// report; zero: it does. A node that takes over from kube-proxy counts as verified when that is gone, and
// one that gives back when kube-proxy serves it.
func memberOf(node *corev1.Node, set *v1alpha1.NodeRuleSet, silent, now time.Time) rollout.Member {
	m := rollout.Member{Name: node.Name, Labels: node.Labels, Kind: node.Status.NodeInfo.KernelVersion + "/" + node.Labels[corev1.LabelTopologyZone],
		Assigned: set.Spec.Revision, AwaySince: now}
	if set.Spec.AssignedTime != nil {
		m.AssignedAt = set.Spec.AssignedTime.Time
	}
	for _, c := range node.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if m.Ready = c.Status == corev1.ConditionTrue; !m.Ready {
			m.AwaySince = c.LastTransitionTime.Time
		}
	}
	if m.Ready {
		m.AwaySince = time.Time{}
	}
	m.VerifiedAt, m.Reverted = rollout.VerifiedSince(set)
	// A node that has not verified its revision has a deadline anyway.
	if m.VerifiedAt.IsZero() || !m.Ready {
		return m
	}
	done, troubled := takeover.Progress(set, m.VerifiedAt)
	if !done.IsZero() {
		m.VerifiedAt = done // the node has changed once more
	}
	m.TroubledSince = troubled
	if !silent.IsZero() {
		m.TroubledSince = silent
	}
	if c := failure(set); c != nil {
		m.TroubledSince = c.LastTransitionTime.Time
	}
	return m
}

// failure returns the condition that reports that the node does not have its rules.
func failure(set *v1alpha1.NodeRuleSet) *metav1.Condition {
	for _, t := range []string{v1alpha1.ConditionAccepted, v1alpha1.ConditionProgrammed} {
		c := apimeta.FindStatusCondition(set.Status.Conditions, t)
		if c != nil && c.Status == metav1.ConditionFalse && c.ObservedGeneration == set.Generation && c.Reason != v1alpha1.ReasonProgramming {
			return c
		}
	}
	return nil
}

// silence is which agents have stopped renewing their NodeHeartbeats. No clocks are compared;
// and while no agent beats, the apiserver or its watch is the cause, and none counts. After a
// restart it takes the longer.
type silence struct {
	beats  map[string]beat
	silent map[string]time.Time
}

// beat is the last renewal of an agent, and when it was seen first.
type beat struct {
	renewed metav1.Time
	seen    time.Time
}

// observe returns since when agents are silent that have not beaten for as long as patience, by
// the last beat of any. They have as long again: after an outage they do not all return at once.
func (s *silence) observe(beats []v1alpha1.NodeHeartbeat, now time.Time, patience time.Duration) map[string]time.Time {
	before, known := s.beats, s.silent
	s.beats, s.silent = map[string]beat{}, map[string]time.Time{}
	var last time.Time
	for _, b := range beats {
		seen, ok := before[b.Name]
		if !ok || !seen.renewed.Equal(&b.Spec.RenewTime) {
			seen = beat{b.Spec.RenewTime, now}
		}
		s.beats[b.Name] = seen
		if seen.seen.After(last) {
			last = seen.seen
		}
	}
	out := map[string]time.Time{}
	for name, b := range s.beats {
		if last.Sub(b.seen) < patience {
			continue
		}
		if s.silent[name] = known[name]; known[name].IsZero() {
			s.silent[name] = now
		}
		if now.Sub(s.silent[name]) >= patience {
			out[name] = s.silent[name].Add(patience)
		}
	}
	return out
}
