// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Install installs Fairlead on a lab, as a user does. Its policy changes all nodes at once.
func Install() error {
	for _, args := range [][]string{
		{"apply", "--server-side", "-k", filepath.Join(Repo, "config", "default")},
		{"apply", "-f", filepath.Join(Repo, "config", "samples", "proxyconfig.yaml")},
		{"patch", "proxyconfig/default", "--type=merge", "--patch", `{"spec": {"rollout": {"strategy": "AllAtOnce"}}}`},
		{"wait", "proxyconfig/default", "--for=condition=Available", "--timeout=4m"},
	} {
		if err := Command("kubectl", args...); err != nil {
			return err
		}
	}
	return nil
}

// Use has all nodes use a mode and a way to detect their Pods, and waits until they have programmed it.
func Use(ctx context.Context, api client.Client, patience time.Duration, nodes int, mode v1alpha1.ProxyMode, local v1alpha1.LocalTrafficOptions) error {
	policy := &v1alpha1.ProxyConfig{}
	err := Eventually(ctx, patience, func() error {
		if err := api.Get(ctx, client.ObjectKey{Name: "default"}, policy); err != nil {
			return err
		}
		policy.Spec.Mode, policy.Spec.LocalTraffic = mode, local
		return api.Update(ctx, policy)
	})
	if err != nil {
		return err
	}
	return Eventually(ctx, patience, func() error {
		var list v1alpha1.NodeRuleSetList
		if err := api.List(ctx, &list); err != nil {
			return err
		}
		if len(list.Items) != nodes {
			return fmt.Errorf("%d of %d nodes have a policy", len(list.Items), nodes)
		}
		for _, n := range list.Items {
			if n.Spec.Mode != mode || !reflect.DeepEqual(n.Spec.LocalTraffic, local) || n.Status.Mode != mode ||
				n.Status.ObservedGeneration != n.Generation || !meta.IsStatusConditionTrue(n.Status.Conditions, v1alpha1.ConditionProgrammed) {
				return fmt.Errorf("%s does not use %s with %+v: %+v", n.Name, mode, local, n.Status.Conditions)
			}
		}
		return nil
	})
}
