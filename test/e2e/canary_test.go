// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestRolloutOfABadCanary has the first node fail a changed policy for real: another program owns a
// table of its name, so that the kernel refuses it, or drops what a check sends. Only that node
// changes, it returns by itself, and the rollout is tried again when the cause is gone.
func TestRolloutOfABadCanary(t *testing.T) {
	const canary = "node-1"
	namespace := newNamespace(t)
	svc := newEcho(t, namespace, 3)
	checked := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "checked"},
		Spec: corev1.ServiceSpec{Selector: svc.Spec.Selector, Ports: svc.Spec.Ports}}
	if err := api.Create(t.Context(), checked); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		changePolicy(context.Background(), t, `"mode": "Auto", "rollout": null`)
		if err := command("kubectl", "wait", "proxyconfig/default", "--for=condition=Degraded=False", "--timeout=90s"); err != nil {
			t.Error(err)
		}
	})
	changePolicy(t.Context(), t, `"mode": "IPTables"`)
	eventually(t, time.Minute, func() error { return allRun(t, v1alpha1.ModeIPTables) })
	changePolicy(t.Context(), t, fmt.Sprintf(`"rollout": {"strategy": "Staged", "maxUnavailable": 3, "nodeDeadlineSeconds": 20,
		"stages": [{"name": "canary", "nodes": 1, "soakSeconds": 1}],
		"checks": [{"name": "answers", "service": "%s/checked", "port": %d, "failureLimit": 2}]}`, namespace, echoPort))
	tr := startTraffic(t, labNodes, []*corev1.Service{svc})

	for _, bad := range []struct {
		name, rules string
		from, to    v1alpha1.ProxyMode
		want        string // in the error
	}{
		{"the kernel refuses", "add table ip fairlead { flags owner; }", v1alpha1.ModeIPTables, v1alpha1.ModeNFTables, "operation not permitted"},
		{"a foreign rule drops", "add table ip foreign { flags owner; chain out { type filter hook postrouting priority 0; ct original ip daddr " +
			checked.Spec.ClusterIP + " drop; }; }", v1alpha1.ModeNFTables, v1alpha1.ModeIPTables,
			fmt.Sprintf("check answers: Service %s/checked, port %d: dial tcp %s:%d: i/o timeout", namespace, echoPort, checked.Spec.ClusterIP, echoPort)},
	} {
		release := ownTable(t, canary, bad.rules)
		failCanary(t, canary, bad.from, bad.to, bad.want)
		release()
		tr.wantNoFailures(t, bad.name)
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec": {"state": "Retry"}}`))
		if err := api.Patch(t.Context(), rolloutOf(t), patch); err != nil {
			t.Fatal(err)
		}
		waitRollout(t, v1alpha1.RolloutSucceeded, bad.to)
		tr.wantNoFailures(t, bad.name+", and no more")
	}
}

// changePolicy changes fields of the ProxyConfig.
func changePolicy(ctx context.Context, t *testing.T, spec string) {
	t.Helper()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec": {`+spec+`}}`))
	if err := api.Patch(ctx, &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, patch); err != nil {
		t.Fatal(err)
	}
}

// failCanary changes the mode, which a node cannot have, and waits until that is undone.
func failCanary(t *testing.T, canary string, from, to v1alpha1.ProxyMode, want string) {
	t.Helper()
	changePolicy(t.Context(), t, fmt.Sprintf(`"mode": %q`, to))
	var o *v1alpha1.ProxyRollout
	eventually(t, 2*time.Minute, func() error {
		for _, node := range labNodes {
			set, err := ruleSet(t, node)
			if err != nil {
				return err
			}
			if node != canary && set.Spec.Mode != from {
				t.Errorf("%s is to run %s", node, set.Spec.Mode)
			}
		}
		o = rolloutOf(t)
		return rolledOut(t, v1alpha1.RolloutRolledBack, from)
	})
	failed := o.Status.FailedNodes
	if len(failed) == 0 {
		t.Fatal("no node has failed it")
	}
	if len(failed) != 1 || failed[0].Name != canary || !strings.Contains(failed[0].Message, want) {
		t.Errorf("failed nodes %+v, want %s: %s", failed, canary, want)
	}
	undone := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionRolledBack).LastTransitionTime
	if took := undone.Sub(o.Status.StartTime.Time); took > 30*time.Second {
		t.Errorf("it took %v: %+v", took, o.Status)
	} else {
		t.Logf("undone in %v: %s: %s", took, failed[0].Reason, failed[0].Message)
	}
	pc := &v1alpha1.ProxyConfig{}
	if err := api.Get(t.Context(), client.ObjectKey{Name: "default"}, pc); err != nil {
		t.Fatal(err)
	}
	c := meta.FindStatusCondition(pc.Status.Conditions, v1alpha1.ConditionDegraded)
	if c == nil || c.Reason != v1alpha1.ReasonRolloutFailing || !strings.Contains(c.Message, canary) || !strings.Contains(c.Message, want[:20]) {
		t.Errorf("condition %+v", c)
	}
}

// ownTable adds nftables rules to a node that no other program can change, until they are released.
func ownTable(t *testing.T, node, rules string) (release func()) {
	t.Helper()
	cmd := exec.Command("nsenter", "--net="+nsPath(node), "nft", "-i")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() { in.Close(); _ = cmd.Wait() })
	t.Cleanup(release)
	if _, err := io.WriteString(in, rules+"\n"); err != nil {
		t.Fatal(err)
	}
	table := strings.Fields(rules)[2:4]
	eventually(t, 20*time.Second, func() error {
		_, err := inNode(node, append([]string{"nft", "list", "table"}, table...)...)
		return err
	})
	return release
}
