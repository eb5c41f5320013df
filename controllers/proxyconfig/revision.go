// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

import (
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// revisionOf returns what an agent has reported of the revision of its node. One of another
// ProxyConfig, which the node had before, does not count.
func revisionOf(config *v1alpha1.ProxyConfig, set *v1alpha1.NodeRuleSet) rollout.Node {
	n := rollout.Node{}
	if c := apimeta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionDegraded); c != nil {
		n.Reported, n.Degraded = c.Status != metav1.ConditionUnknown, c.Status == metav1.ConditionTrue
	}
	if p := set.Status.Policy; p != nil && p.Name == config.Name {
		n.Applied = set.Status.AppliedRevision
	}
	return n
}

// revisions returns what the nodes say of their revisions.
func revisions(states []nodeState) []rollout.Node {
	out := make([]rollout.Node, 0, len(states))
	for _, s := range states {
		n := s.revision
		n.Ready, n.Silent = s.ready, s.silent
		out = append(out, n)
	}
	return out
}
