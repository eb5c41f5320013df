// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestRollout changes the mode of the nodes one after the other, under connections. A change that
// no node can run touches none.
func TestRollout(t *testing.T) {
	svc := newEcho(t, newNamespace(t), 3)
	t.Cleanup(func() { resetPolicy(t) })
	startWith(t, v1alpha1.ModeNFTables)
	changePolicy(t.Context(), t, `"rollout": {"strategy": "Staged", "maxUnavailable": 1, "nodeDeadlineSeconds": 15,
		"stages": [{"name": "canary", "nodes": 1, "soakSeconds": 5}]}`)
	tr := startTraffic(t, labNodes, []*corev1.Service{svc})

	changePolicy(t.Context(), t, `"mode": "IPTables"`)
	var order []string
	eventually(t, 2*time.Minute, func() error {
		changing := 0
		var sets v1alpha1.NodeRuleSetList // all of one moment
		if err := api.List(t.Context(), &sets); err != nil {
			return err
		}
		for _, set := range sets.Items {
			if r := set.Status.Revision; r == nil || r.Name != set.Spec.Revision || r.Phase != v1alpha1.RevisionVerified {
				changing++
			}
			if set.Spec.Mode == v1alpha1.ModeIPTables && !slices.Contains(order, set.Name) {
				order = append(order, set.Name)
			}
		}
		if changing > 1 {
			t.Errorf("%d nodes change at once", changing)
		}
		return rolledOut(t, v1alpha1.RolloutSucceeded, v1alpha1.ModeIPTables)
	})
	if !slices.Equal(order, labNodes) {
		t.Errorf("the order is %v", order)
	}

	changePolicy(t.Context(), t, `"mode": "IPVS"`)
	waitRollout(t, v1alpha1.RolloutBlocked, v1alpha1.ModeIPTables)

	tr.wantNoFailures(t, "the mode changes in stages")
}

// rolloutOf returns the rollout that the ProxyConfig names; nil: there is none of its current spec.
func rolloutOf(t *testing.T) *v1alpha1.ProxyRollout {
	pc := &v1alpha1.ProxyConfig{}
	if err := api.Get(t.Context(), client.ObjectKey{Name: "default"}, pc); err != nil || pc.Status.ObservedGeneration != pc.Generation || pc.Status.Rollout == nil {
		return nil
	}
	o := &v1alpha1.ProxyRollout{}
	if err := api.Get(t.Context(), client.ObjectKey{Name: pc.Status.Rollout.Name}, o); err != nil {
		return nil
	}
	return o
}

// rolledOut says whether the current rollout is in a phase, and all nodes run a mode.
func rolledOut(t *testing.T, phase v1alpha1.RolloutPhase, mode v1alpha1.ProxyMode) error {
	o := rolloutOf(t)
	if o == nil || o.Status.Phase != phase {
		return fmt.Errorf("rollout %+v, want it %s", o, phase)
	}
	return allRun(t, mode)
}

// allRun says whether all nodes have verified a revision, and run a mode.
func allRun(t *testing.T, mode v1alpha1.ProxyMode) error {
	for _, node := range labNodes {
		set, err := ruleSet(t, node)
		if err != nil {
			return err
		}
		if r := set.Status.Revision; r == nil || r.Name != set.Spec.Revision || r.Phase != v1alpha1.RevisionVerified || set.Status.Mode != mode {
			return fmt.Errorf("%s runs %s, and reports %+v, want %s", node, set.Status.Mode, r, mode)
		}
	}
	return nil
}

// startWith changes the mode and waits until all nodes have verified that: what tests before have left
// to be done has been done then.
func startWith(t *testing.T, mode v1alpha1.ProxyMode) {
	t.Helper()
	changePolicy(t.Context(), t, fmt.Sprintf(`"mode": %q`, mode))
	eventually(t, 2*time.Minute, func() error {
		policy := &v1alpha1.ProxyConfig{}
		if err := api.Get(t.Context(), client.ObjectKey{Name: "default"}, policy); err != nil {
			return err
		}
		if policy.Status.ObservedGeneration != policy.Generation {
			return fmt.Errorf("the controller has not seen the policy's generation %d", policy.Generation)
		}
		for _, node := range labNodes {
			set, err := ruleSet(t, node)
			if err != nil {
				return err
			}
			if r := set.Status.Revision; set.Spec.Revision != policy.Status.TargetRevision || r == nil || !r.AssignedTime.Equal(set.Spec.AssignedTime) {
				return fmt.Errorf("%s has %s, and reports %+v, want %s", node, set.Spec.Revision, r, policy.Status.TargetRevision)
			}
		}
		return allRun(t, mode)
	})
}

func waitRollout(t *testing.T, phase v1alpha1.RolloutPhase, mode v1alpha1.ProxyMode) {
	t.Helper()
	eventually(t, 2*time.Minute, func() error { return rolledOut(t, phase, mode) })
}
