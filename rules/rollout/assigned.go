// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Assigned returns the revision that a node is to have, and since when; current is its
// NodeRuleSet, nil if it has none. With the strategy Staged a node keeps its revision until its
// rollout gives it another one. A node without one gets the stable revision.
func Assigned(config *v1alpha1.ProxyConfig, current *v1alpha1.NodeRuleSet, now time.Time) (revision string, since *metav1.Time) {
	target, staged := RevisionOf(config).Name, IsStaged(config)
	has := current != nil && current.Spec.Policy.Name == config.Name && current.Spec.Revision != "" && current.Spec.CleanUpSince == nil
	switch {
	case has && (staged || current.Spec.Revision == target):
		return current.Spec.Revision, current.Spec.AssignedTime
	case !staged:
		return target, nil
	case config.Status.StableRevision != "":
		target = config.Status.StableRevision
	}
	return target, &metav1.Time{Time: now.Truncate(time.Second)}
}

// Checks returns the checks of a revision on a node; current is its NodeRuleSet, nil if it has
// none. A revision that is returned to has none: a check that fails must not hold that up. One
// that the node has been given keeps those that it has when the ProxyConfig asks for another one.
func Checks(config *v1alpha1.ProxyConfig, current *v1alpha1.NodeRuleSet, revision string) []v1alpha1.RolloutCheck {
	switch {
	case revision == RevisionOf(config).Name:
		return config.DeepCopy().Spec.Rollout.Checks
	case current != nil && current.Spec.Revision == revision:
		return current.DeepCopy().Spec.Checks
	}
	return nil
}

// IsStaged says whether changed policies are rolled out in stages.
func IsStaged(config *v1alpha1.ProxyConfig) bool {
	return config.Spec.Rollout.Strategy == v1alpha1.Staged
}

// errAltered is returned for a revision whose content does not have its name.
var errAltered = errors.New("its content has another name: it was altered")

// Restore returns a ProxyConfig with the policy of one of its revisions: the data under a name.
func Restore(config *v1alpha1.ProxyConfig, name string, data []byte) (*v1alpha1.ProxyConfig, error) {
	stored := &v1alpha1.ProxyConfig{}
	if err := json.Unmarshal(data, stored); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	out := config.DeepCopy()
	out.Spec = policyOf(stored.Spec)
	out.Spec.NodeSelector, out.Spec.Priority = config.Spec.NodeSelector, config.Spec.Priority
	out.Spec.MassRemoval, out.Spec.DeletionPolicy = config.Spec.MassRemoval, config.Spec.DeletionPolicy
	out.Spec.RevisionHistoryLimit, out.Spec.Rollout = config.Spec.RevisionHistoryLimit, config.Spec.Rollout
	out.Spec.KubeProxy = withDaemonSet(out.Spec.KubeProxy, config.Spec.KubeProxy)
	if RevisionOf(out).Name != name {
		return nil, errAltered
	}
	return out, nil
}

// Kept returns a ProxyConfig with the policy that a NodeRuleSet has.
func Kept(config *v1alpha1.ProxyConfig, spec v1alpha1.NodeRuleSetSpec) *v1alpha1.ProxyConfig {
	out := config.DeepCopy()
	spec = *spec.DeepCopy()
	out.Spec.Mode, out.Spec.FallbackModes, out.Spec.IPVS = spec.Mode, spec.FallbackModes, spec.IPVS
	out.Spec.SessionAffinity, out.Spec.NodePort, out.Spec.ExternalIPs = spec.SessionAffinity, spec.NodePort, spec.ExternalIPs
	out.Spec.Masquerade, out.Spec.LocalTraffic, out.Spec.Conntrack = spec.Masquerade, spec.LocalTraffic, spec.Conntrack
	var kubeProxy *v1alpha1.KubeProxyOptions
	if spec.KubeProxy != "" {
		kubeProxy = &v1alpha1.KubeProxyOptions{TakeOver: new(spec.KubeProxy == v1alpha1.KubeProxyTakeOver)}
	}
	out.Spec.KubeProxy = withDaemonSet(kubeProxy, config.Spec.KubeProxy)
	return out
}

// Previous is the rollout before.
type Previous struct {
	From, To  string
	Succeeded bool
}

// ReturnTo returns the revision to return to if a rollout fails; empty: there is none. If
// another rollout is in the middle, or has failed, it is that one's. Else it is the stable one, if a
// node has it, or the one that most nodes have. assigned is how many nodes have each revision.
func ReturnTo(to, stable string, previous *Previous, assigned map[string]int) string {
	from := ""
	switch {
	case previous != nil && !previous.Succeeded:
		from = previous.From
	case stable != "" && assigned[stable] > 0:
		from = stable
	default:
		for name, n := range assigned {
			if name != to && (from == "" || n > assigned[from] || n == assigned[from] && name < from) {
				from = name
			}
		}
	}
	if from == to {
		return ""
	}
	return from
}
