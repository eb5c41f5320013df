// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestRollout changes the mode of the nodes one after the other, under connections. A change that
// no node can run touches none; one that hangs on a node is undone, and tried again.
func TestRollout(t *testing.T) {
	svc := newEcho(t, newNamespace(t), 3)
	change := func(ctx context.Context, spec string) {
		t.Helper()
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec": {`+spec+`}}`))
		if err := api.Patch(ctx, &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, patch); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		change(context.Background(), `"mode": "Auto", "rollout": null`)
		if err := command("kubectl", "wait", "proxyconfig/default", "--for=condition=Degraded=False", "--timeout=90s"); err != nil {
			t.Error(err)
		}
	})
	change(t.Context(), `"mode": "NFTables"`)
	eventually(t, time.Minute, func() error { return allRun(t, v1alpha1.ModeNFTables) })
	change(t.Context(), `"rollout": {"strategy": "Staged", "maxUnavailable": 1, "nodeDeadlineSeconds": 15,
		"stages": [{"name": "canary", "nodes": 1, "soakSeconds": 5}]}`)
	tr := startTraffic(t, labNodes, []*corev1.Service{svc})

	change(t.Context(), `"mode": "IPTables"`)
	var order []string
	eventually(t, 2*time.Minute, func() error {
		changing := 0
		for _, node := range labNodes {
			set, err := ruleSet(t, node)
			if err != nil {
				return err
			}
			if r := set.Status.Revision; r == nil || r.Name != set.Spec.Revision || r.Phase != v1alpha1.RevisionVerified {
				changing++
			}
			if set.Spec.Mode == v1alpha1.ModeIPTables && !slices.Contains(order, node) {
				order = append(order, node)
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

	change(t.Context(), `"mode": "IPVS"`)
	waitRollout(t, v1alpha1.RolloutBlocked, v1alpha1.ModeIPTables)

	pid, err := agentPID(labNodes[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	t.Cleanup(goOn)
	change(t.Context(), `"mode": "NFTables"`)
	eventually(t, time.Minute, func() error {
		o := rolloutOf(t)
		if o == nil || o.Status.Verdict != v1alpha1.VerdictFailed || len(o.Status.FailedNodes) != 1 || o.Status.FailedNodes[0].Name != labNodes[0] {
			return fmt.Errorf("rollout %+v", o)
		}
		return nil
	})
	goOn()
	waitRollout(t, v1alpha1.RolloutRolledBack, v1alpha1.ModeIPTables)
	o := rolloutOf(t)
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec": {"state": "Retry"}}`))
	if err := api.Patch(t.Context(), o, patch); err != nil {
		t.Fatal(err)
	}
	waitRollout(t, v1alpha1.RolloutSucceeded, v1alpha1.ModeNFTables)
	tr.wantNoFailures(t, "the mode changes in stages, and back")
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

func waitRollout(t *testing.T, phase v1alpha1.RolloutPhase, mode v1alpha1.ProxyMode) {
	t.Helper()
	eventually(t, 2*time.Minute, func() error { return rolledOut(t, phase, mode) })
}
