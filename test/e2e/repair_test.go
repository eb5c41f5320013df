// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestRepair checks that externally modified rules are restored, and that other tables
// are not changed.
func TestRepair(t *testing.T) {
	const node = "node-2"
	service := newEcho(t, newNamespace(t), 2)
	vip := service.Spec.ClusterIP
	nft := func(args ...string) {
		t.Helper()
		if _, err := inNode(node, append([]string{"nft"}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	open, err := dial(node, vip, echoPort)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	wantKernel(t, node)
	nft("add", "table", "ip", "foreign")
	defer nft("delete", "table", "ip", "foreign")
	for what, args := range map[string][]string{
		"our table is deleted":       {"delete", "table", "ip", "fairlead"},
		"an element is deleted":      {"delete", "element", "ip", "fairlead", "cluster-ips", "{ " + vip + " }"},
		"a rule takes everything":    {"insert", "rule", "ip", "fairlead", "frontends", "drop"},
		"a chain of ours is emptied": {"flush", "chain", "ip", "fairlead", "frontends"},
	} {
		t.Log(what)
		before := repairs(t, node)
		nft(args...)
		eventually(t, 5*time.Second, func() error {
			if repairs(t, node) == before {
				return errors.New("not repaired")
			}
			return ask(node, vip, echoPort)
		})
		wantKernel(t, node)
	}
	if _, err := open.Say(); err != nil {
		t.Errorf("the open connection broke: %v", err)
	}
	nft("list", "table", "ip", "foreign")
	eventually(t, 10*time.Second, func() error {
		var list eventsv1.EventList
		if err := api.List(t.Context(), &list, client.InNamespace(corev1.NamespaceDefault)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == "RulesRepaired" && e.Regarding.Kind == "NodeRuleSet" && e.Regarding.Name == node {
				return nil
			}
		}
		return errors.New("no event about the repair")
	})
}

func repairs(t *testing.T, node string) int64 {
	t.Helper()
	status, err := agentStatus(node)
	if err != nil {
		t.Fatal(err)
	}
	if status.Repairs == nil {
		return 0
	}
	return status.Repairs.Count
}
