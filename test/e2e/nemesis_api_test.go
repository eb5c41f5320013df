// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
	"github.com/fairlead-proxy/fairlead/test/robustness/checker"
)

// slicesThere returns an error unless every Service of the arena has its slices, and all is
// as desired.
func (a *arena) slicesThere() error {
	ctx, cancel := shortly()
	defer cancel()
	var list v1alpha1.ServiceRuleSliceList
	err := api.List(ctx, &list, client.MatchingLabels{v1alpha1.LabelServiceNamespace: a.namespace})
	if err == nil && len(list.Items) < 2*3 { // three Services, in two families
		err = fmt.Errorf("%d slices", len(list.Items))
	}
	if err != nil {
		return err
	}
	return errors.Join(allGood(), followed(""))
}

func deleteSlices(a *arena, _ *rand.Rand) (hit, error) {
	h := hit{Strike: checker.Strike{Effect: checker.Blind}, over: a.slicesThere}
	return h, labtest.Command("kubectl", "delete", "servicerules", "--all")
}

func deleteCRD(a *arena, r *rand.Rand) (hit, error) {
	return hit{
		Strike: checker.Strike{Effect: checker.Blind}, over: a.slicesThere, hold: between(r, 0, 3*time.Second),
		heal: func() error {
			return kubectl("apply", "--server-side", "-f", filepath.Join(repo, "config", "crd", "bases"))
		},
	}, labtest.Command("kubectl", "delete", "crd", "serviceruleslices.proxy.fairlead.dev")
}

// changeAddresses gives a node another address in its status, until its kubelet notices. Its
// node ports are there then.
func changeAddresses(_ *arena, r *rand.Rand) (hit, error) {
	h := hit{Strike: checker.Strike{Node: randomNode(r), Effect: checker.Broken}}
	addresses := func(change string) error {
		ctx, cancel := shortly()
		defer cancel()
		node := &corev1.Node{}
		if err := api.Get(ctx, client.ObjectKey{Name: h.Node}, node); err != nil || change == "" {
			if err == nil && node.Status.Addresses[0].Address == "10.89.0.99" {
				err = errors.New("the kubelet has not noticed")
			}
			return err
		}
		node.Status.Addresses[0].Address = change
		return api.Status().Update(ctx, node)
	}
	h.over = func() error {
		err := errors.Join(addresses(""), followed(h.Node))
		if err == nil {
			// The policy's generation is no part of the digest.
			err = allGood()
		}
		return err
	}
	return h, addresses("10.89.0.99")
}

// rollAgents rolls out another version of the agent, and the former one again.
func rollAgents(*arena, *rand.Rand) (hit, error) {
	ctx, cancel := shortly()
	defer cancel()
	agents := &appsv1.DaemonSet{}
	if err := api.Get(ctx, client.ObjectKey{Namespace: "fairlead-system", Name: "fairlead-agent"}, agents); err != nil {
		return hit{}, err
	}
	former := agents.Spec.Template.Spec.Containers[0].Image
	// The lab runs the same program for every tag.
	roll := func(image string) error {
		return errors.Join(
			kubectl("-n", agents.Namespace, "set", "image", "daemonset/"+agents.Name, "agent="+image),
			kubectl("-n", agents.Namespace, "rollout", "status", "daemonset/"+agents.Name, "--timeout=5m"))
	}
	return hit{Strike: checker.Strike{Effect: checker.Blind}, heal: func() error { return roll(former) }}, roll("fairlead-agent:next")
}

// reinstall removes Fairlead and installs it again.
func reinstall(a *arena, r *rand.Rand) (hit, error) {
	h := hit{Strike: checker.Strike{Effect: checker.Blind}, hold: between(r, 0, 5*time.Second), over: a.slicesThere}
	ctx, cancel := shortly()
	defer cancel()
	addresses := &corev1.ConfigMap{}
	if err := api.Get(ctx, client.ObjectKey{Namespace: "fairlead-system", Name: "fairlead-apiserver"}, addresses); err != nil {
		return h, err
	}
	h.heal = func() error { return until(func() error { return errors.Join(putAddresses(addresses), install()) }) }
	err := labtest.Command("kubectl", "delete", "-k", filepath.Join(repo, "config", "default"), "--timeout=2m")
	return h, errors.Join(err, until(func() error {
		for _, node := range labNodes {
			if pid, err := agentPID(node); err == nil {
				return fmt.Errorf("the agent of %s still runs: %d", node, pid)
			}
		}
		return nil
	}))
}
