// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
	"github.com/fairlead-proxy/fairlead/test/robustness/checker"
)

// nemesis breaks something.
type nemesis struct {
	name string
	// quiet: endpoints do not change while it lasts, because the nodes may not learn of it for
	// longer than a Pod goes on serving.
	quiet bool
	// noAPI: the apiserver does not answer while it lasts. So it strikes last and is healed first.
	noAPI bool
	// alone is how often it strikes in TestNemeses; 0: only in TestSoak, because it takes long
	// or another test does the same.
	alone  int
	strike func(*arena, *rand.Rand) (hit, error)
}

// hit is a strike under way. Its Strike says on which node it has which effect, if any.
type hit struct {
	checker.Strike
	hold time.Duration
	// heal undoes it, if it does not heal itself.
	heal func() error
	// over returns an error while it has an effect, after heal, for at most patience (by default
	// two minutes); by default until the agents follow the API.
	over     func() error
	patience time.Duration
}

// nemeses are in the order of TestNemeses.
var nemeses = []nemesis{
	{name: "kill-agent", alone: 4, strike: killAnAgent},
	{name: "stop-agent", alone: 1, strike: stopAgent},
	{name: "kill-leader", alone: 1, strike: killLeader},
	{name: "stop-leader", strike: stopLeader},
	{name: "kill-apiserver", noAPI: true, alone: 1, strike: killComponent("kube-apiserver")},
	{name: "stop-apiserver", noAPI: true, strike: stopComponent("kube-apiserver")},
	{name: "kill-etcd", noAPI: true, strike: killComponent("etcd")},
	{name: "partition", alone: 1, strike: partition},
	{name: "flush", alone: 2, strike: flush},
	{name: "xtables-lock", alone: 1, strike: lockXtables},
	{name: "flip-mode", alone: 1, strike: flipMode},
	{name: "delete-slices", quiet: true, strike: deleteSlices},
	{name: "delete-crd", quiet: true, alone: 1, strike: deleteCRD},
	{name: "node-addresses", strike: changeAddresses},
	{name: "roll-agents", strike: rollAgents},
	{name: "reinstall", quiet: true, strike: reinstall},
	{name: "restore-etcd", quiet: true, noAPI: true, strike: restoreEtcd},
}

// shortly bounds a request: the apiserver may not answer.
func shortly() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 5*time.Second)
}

// settled returns an error while Pods of a namespace start or end.
func settled(ctx context.Context, namespace string) error {
	var pods corev1.PodList
	if err := api.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		return err
	}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp != nil || !labtest.IsReady(&pod) {
			return fmt.Errorf("Pod %s starts or ends", pod.Name)
		}
	}
	return nil
}

func randomNode(r *rand.Rand) string { return labNodes[r.IntN(len(labNodes))] }

func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// kubectl tries a command again until the apiserver answers.
func kubectl(args ...string) error {
	return until(func() error { return labtest.Command("kubectl", args...) })
}

// until polls for a minute until ok returns no error.
func until(ok func() error) error {
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = ok(); err == nil {
			return nil
		}
	}
	return err
}
