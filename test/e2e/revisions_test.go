// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// revisionOf returns the target of a policy when all nodes run it, it is stable, and its
// ControllerRevision has the highest number.
func revisionOf(t *testing.T, policy string) (string, error) {
	pc := &v1alpha1.ProxyConfig{}
	if err := api.Get(t.Context(), client.ObjectKey{Name: policy}, pc); err != nil {
		return "", err
	}
	target := pc.Status.TargetRevision
	if pc.Status.ObservedGeneration != pc.Generation || target == "" || pc.Status.StableRevision != target {
		return "", fmt.Errorf("target %q, stable %q", target, pc.Status.StableRevision)
	}
	var sets v1alpha1.NodeRuleSetList
	if err := api.List(t.Context(), &sets); err != nil {
		return "", err
	}
	for _, set := range sets.Items {
		if set.Spec.Policy.Name == policy && set.Status.AppliedRevision != target {
			return "", fmt.Errorf("%s has %q, not %q", set.Name, set.Status.AppliedRevision, target)
		}
	}
	var kept appsv1.ControllerRevisionList
	if err := api.List(t.Context(), &kept, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ControllerName}); err != nil {
		return "", err
	}
	newest := appsv1.ControllerRevision{}
	for _, r := range kept.Items {
		if metav1.IsControlledBy(&r, pc) && r.Revision > newest.Revision {
			newest = r
		}
	}
	if newest.Name != target {
		return "", fmt.Errorf("the newest ControllerRevision is %q, not %q", newest.Name, target)
	}
	return target, nil
}

// TestRevisions changes the policy and changes it back: all nodes run the earlier revision again.
// A revision goes with its ProxyConfig.
func TestRevisions(t *testing.T) {
	wait := func() (revision string) {
		t.Helper()
		eventually(t, time.Minute, func() (err error) { revision, err = revisionOf(t, "default"); return err })
		return revision
	}
	set := func(timeout string) {
		t.Helper()
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"sessionAffinity":{"timeoutSeconds":`+timeout+`}}}`))
		if err := api.Patch(t.Context(), &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, patch); err != nil {
			t.Fatal(err)
		}
	}
	first := wait()
	set("7200")
	second := wait()
	set("10800")
	if third := wait(); second == first || third != first {
		t.Errorf("revisions %s, %s, and back to %s", first, second, third)
	}

	unused := &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "unused"}, Spec: v1alpha1.ProxyConfigSpec{
		NodeSelector: &v1alpha1.NodeSelector{MatchLabels: map[string]v1alpha1.LabelValue{"no": "node"}}}}
	if err := api.Create(t.Context(), unused); err != nil {
		t.Fatal(err)
	}
	deleted := false
	t.Cleanup(func() {
		if !deleted {
			_ = labtest.Command("kubectl", "delete", "proxyconfig", unused.Name)
		}
	})
	count := func(want int) func() error {
		return func() error {
			var kept appsv1.ControllerRevisionList
			if err := api.List(t.Context(), &kept, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ControllerName}); err != nil {
				return err
			}
			n := 0
			for _, r := range kept.Items {
				if metav1.IsControlledBy(&r, unused) {
					n++
				}
			}
			if n != want {
				return fmt.Errorf("%d revisions, want %d", n, want)
			}
			return nil
		}
	}
	eventually(t, time.Minute, count(1))
	if err := api.Delete(t.Context(), unused); err != nil {
		t.Fatal(err)
	}
	deleted = true
	eventually(t, time.Minute, count(0))
}
