// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/takeover"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
	"github.com/fairlead-proxy/fairlead/test/lab/ruledump"
)

// takeOver are the fields of a ProxyConfig for TestTakeOver.
const takeOver = `"kubeProxy": {"takeOver": %v}, "rollout": {"strategy": "Staged", "maxUnavailable": 1,
	"stages": [{"name": "canary", "nodes": 1, "soakSeconds": 1}]}`

// TestTakeOver has the nodes give back to a real kube-proxy, and take over from it again, node by node, under
// connections.
func TestTakeOver(t *testing.T) {
	if !*rolloutsToo {
		t.Skip("takes minutes: make test-e2e-rollout")
	}
	installKubeProxy(t)
	svc := newEcho(t, newNamespace(t), 3)
	changePolicy(t.Context(), t, `"mode": "NFTables"`)
	eventually(t, time.Minute, func() error { return allRun(t, v1alpha1.ModeNFTables) })
	// Services of the tests before would be in the rules of fresh agents.
	eventually(t, 2*time.Minute, func() error {
		var all corev1.NamespaceList
		if err := api.List(t.Context(), &all); err != nil {
			return err
		}
		for _, ns := range all.Items {
			if strings.HasPrefix(ns.Name, namespacePrefix) && ns.DeletionTimestamp != nil {
				return fmt.Errorf("%s is there", ns.Name)
			}
		}
		return nil
	})
	eventually(t, time.Minute, func() error { return served(t.Context(), "kube-system", "coredns", "kube-dns") })
	fresh := map[string]ruledump.Rules{}
	for _, node := range labNodes {
		fresh[node] = freshAgent(t, node)
	}
	for _, proxy := range kubeProxies {
		passed := t.Run(proxy.name, func(t *testing.T) {
			// Until kube-proxy serves the nodes, the agents do.
			changePolicy(t.Context(), t, `"mode": "NFTables", `+fmt.Sprintf(takeOver, false))
			tr := startTraffic(t, labNodes, []*corev1.Service{svc})
			startKubeProxy(t, proxy)
			eventually(t, 5*time.Minute, func() error {
				return errors.Join(replacedIs(t, metav1.ConditionFalse, v1alpha1.ReasonGivenBack), rolledOut(t, v1alpha1.RolloutSucceeded, ""), restored(t))
			})
			for _, node := range labNodes {
				wantRules(t, node, ownRules, false)
				wantRules(t, node, proxy.rules, true)
			}
			tr.Stop()
			tr.wantNoFailures(t, "given back to kube-proxy")
			for _, node := range labNodes {
				wantFreshKubeProxy(t, node, proxy)
			}

			tr = startTraffic(t, labNodes, []*corev1.Service{svc})
			changePolicy(t.Context(), t, fmt.Sprintf(takeOver, true))
			eventually(t, 5*time.Minute, func() error {
				return errors.Join(replacedIs(t, metav1.ConditionTrue, v1alpha1.ReasonReplaced), rolledOut(t, v1alpha1.RolloutSucceeded, v1alpha1.ModeNFTables))
			})
			for _, node := range labNodes {
				wantRules(t, node, ownRules, true)
				wantRules(t, node, proxy.rules, false)
			}
			tr.Stop()
			tr.wantNoFailures(t, "taken over from kube-proxy")
			removeKubeProxy(t)
			for _, node := range labNodes {
				wantFreshAgent(t, node, fresh[node])
			}
		})
		if !passed {
			return // what is left of it would fail the next one
		}
	}
}

// ownRules is a part of the rules of the mode NFTables.
const ownRules = "table ip fairlead {"

// kubeProxy is a way to run kube-proxy.
type kubeProxy struct {
	name    string
	mode    v1alpha1.KubeProxyMode
	variant string // of iptables
	rules   string // a part of its rules, which no other way has
}

var kubeProxies = []kubeProxy{
	{"nftables", v1alpha1.KubeProxyNFTables, "nft", "table ip kube-proxy {"},
	{"iptables", v1alpha1.KubeProxyIPTables, "nft", "chain KUBE-S"},
	{"iptables legacy", v1alpha1.KubeProxyIPTables, "legacy", ":KUBE-S"},
}

// installKubeProxy prepares the image, and the rights of the controller.
func installKubeProxy(t *testing.T) {
	t.Helper()
	if err := allowTakeOver(); err != nil {
		t.Fatal(err)
	}
	leaveKubeProxy(t)
}

// allowTakeOver gives the controller the rights to change kube-proxy's DaemonSet.
func allowTakeOver() error {
	return labtest.Command("kubectl", "apply", "--server-side", "-k", filepath.Join(repo, "config", "takeover"))
}

// leaveKubeProxy takes the rights and kube-proxy, with its rules, away after the test.
func leaveKubeProxy(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if err := labtest.Command("kubectl", "delete", "--wait=false", "--ignore-not-found", "-k", filepath.Join(repo, "config", "takeover")); err != nil {
			t.Error(err)
		}
	})
	undo := rememberNodes(t)
	t.Cleanup(func() {
		changePolicy(context.Background(), t, `"kubeProxy": null`)
		resetPolicy(t)
		// A node that was given back has kube-proxy's rules only, until it is programmed again.
		eventually(t, time.Minute, func() error {
			for _, node := range labNodes {
				if _, err := inNode(node, "nft", "list", "table", "ip", "fairlead"); err != nil {
					return err
				}
			}
			return nil
		})
		removeKubeProxy(t)
		undo()
	})
}

// startKubeProxy runs kube-proxy on all nodes that its DaemonSet is not kept off.
func startKubeProxy(t *testing.T, proxy kubeProxy) {
	t.Helper()
	if err := labtest.StartKubeProxy(config, string(proxy.mode), proxy.variant); err != nil {
		t.Fatal(err)
	}
}

// removeKubeProxy deletes kube-proxy.
func removeKubeProxy(t *testing.T) {
	t.Helper()
	if err := labtest.RemoveKubeProxy(); err != nil {
		t.Error(err)
	}
}

// restored says why kube-proxy's DaemonSet has not its affinity of before on all nodes yet. The change of
// its template restarts kube-proxy on one node after the other.
func restored(t *testing.T) error {
	ds := &appsv1.DaemonSet{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: "kube-system", Name: "kube-proxy"}, ds); err != nil {
		return err
	}
	nodes, s := int32(len(labNodes)), ds.Status
	if takeover.IsChanged(ds) || s.ObservedGeneration != ds.Generation || s.UpdatedNumberScheduled != nodes || s.NumberAvailable != nodes {
		return fmt.Errorf("DaemonSet kube-proxy, generation %d, annotations %v: %+v", ds.Generation, ds.Annotations, s)
	}
	return nil
}

// replacedIs says whether the ProxyConfig says that kube-proxy is replaced, or why it is not.
func replacedIs(t *testing.T, status metav1.ConditionStatus, reason string) error {
	pc := &v1alpha1.ProxyConfig{}
	if err := api.Get(t.Context(), client.ObjectKey{Name: "default"}, pc); err != nil {
		return err
	}
	c := meta.FindStatusCondition(pc.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced)
	if c == nil || c.Status != status || c.Reason != reason || c.ObservedGeneration != pc.Generation {
		return fmt.Errorf("generation %d, condition %+v", pc.Generation, c)
	}
	return nil
}

// wantRules checks whether a node's rules have a part.
func wantRules(t *testing.T, node, part string, want bool) {
	t.Helper()
	rules, err := inNode(node, "sh", "-c", "nft list ruleset; iptables-legacy-save; ip6tables-legacy-save")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Contains(rules, part); got != want {
		t.Errorf("%s has %q: %v, want %v", node, part, got, want)
	}
}
