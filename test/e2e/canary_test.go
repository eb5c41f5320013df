// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// canary is the node that gets a changed policy first.
const canary = "node-1"

// badCanary is why the first node fails a changed policy.
type badCanary struct {
	// cause has it fail, until it is mended.
	cause    func(t *testing.T) (mend func())
	from, to v1alpha1.ProxyMode

	reason v1alpha1.RevisionPhase
	want   string // in the error

	// returns says that the node returns before the cause is gone.
	returns bool
}

// TestRolloutOfABadCanary has the first node fail a changed policy for real, in three ways. Only that
// node changes, it returns, and the rollout is tried again when the cause is gone.
func TestRolloutOfABadCanary(t *testing.T) {
	namespace := newNamespace(t)
	svc := newEcho(t, namespace, 3)
	checked := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "checked"},
		Spec: corev1.ServiceSpec{Selector: svc.Spec.Selector, Ports: svc.Spec.Ports}}
	if err := api.Create(t.Context(), checked); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resetPolicy(t) })
	startWith(t, v1alpha1.ModeIPTables)
	changePolicy(t.Context(), t, fmt.Sprintf(`"rollout": {"strategy": "Staged", "maxUnavailable": 3, "nodeDeadlineSeconds": 15,
		"stages": [{"name": "canary", "nodes": 1, "soakSeconds": 1}],
		"checks": [{"name": "answers", "service": "%s/checked", "port": %d, "failureLimit": 2}]}`, namespace, echoPort))
	tr := startTraffic(t, labNodes, []*corev1.Service{svc})

	foreign := "add table ip foreign { flags owner; chain out { type filter hook postrouting priority 0; ct original ip daddr " +
		checked.Spec.ClusterIP + " drop; }; }"
	for _, c := range []struct {
		name string
		bad  badCanary
	}{
		{"the kernel refuses", badCanary{ownTable("add table ip fairlead { flags owner; }"), v1alpha1.ModeIPTables, v1alpha1.ModeNFTables,
			v1alpha1.RevisionReverted, "operation not permitted", true}},
		{"a foreign rule drops", badCanary{ownTable(foreign), v1alpha1.ModeNFTables, v1alpha1.ModeIPTables, v1alpha1.RevisionReverted,
			fmt.Sprintf("check answers: Service %s/checked, port %d: dial tcp %s:%d: i/o timeout", namespace, echoPort, checked.Spec.ClusterIP, echoPort), true}},
		{"the agent hangs", badCanary{hangAgent, v1alpha1.ModeIPTables, v1alpha1.ModeNFTables, "NotVerified", "has not verified the revision in time", false}},
	} {
		c.bad.fails(t)
		tr.wantNoFailures(t, c.name)
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec": {"state": "Retry"}}`))
		if err := api.Patch(t.Context(), rolloutOf(t), patch); err != nil {
			t.Fatal(err)
		}
		waitRollout(t, v1alpha1.RolloutSucceeded, c.bad.to)
		tr.wantNoFailures(t, c.name+", and no more")
	}
}

// fails changes the mode, has the node fail it, and waits until it is undone.
func (b badCanary) fails(t *testing.T) {
	t.Helper()
	mend := b.cause(t)
	changePolicy(t.Context(), t, fmt.Sprintf(`"mode": %q`, b.to))
	eventually(t, 2*time.Minute, func() error {
		if rolloutOf(t) == nil {
			return errors.New("no rollout has begun")
		}
		return nil
	})
	if !b.returns {
		eventually(t, 2*time.Minute, func() error {
			o, err := rolloutOf(t), b.others(t)
			if err == nil && (o == nil || o.Status.Verdict != v1alpha1.VerdictFailed) {
				err = fmt.Errorf("rollout %+v", o)
			}
			return err
		})
		mend()
	}
	// A node that fails is back within half a minute, without a person; one whose agent hung, after it goes on.
	eventually(t, 30*time.Second, func() error {
		if err := b.others(t); err != nil {
			return err
		}
		return rolledOut(t, v1alpha1.RolloutRolledBack, b.from)
	})
	mend()
	eventually(t, time.Minute, func() error { return b.reported(t) })
	o := rolloutOf(t)
	failed := o.Status.FailedNodes
	if len(failed) != 1 || failed[0].Name != canary || failed[0].Reason != string(b.reason) || !strings.Contains(failed[0].Message, b.want) {
		t.Errorf("failed nodes %+v, want %s: %s: %s", failed, canary, b.reason, b.want)
	}
	undone := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionRolledBack).LastTransitionTime
	t.Logf("undone in %v: %s", undone.Sub(o.Status.StartTime.Time), undone)
}

// others checks that no node but the canary is given the revision.
func (b badCanary) others(t *testing.T) error {
	for _, node := range labNodes {
		set, err := ruleSet(t, node)
		if err != nil {
			return err
		}
		if node != canary && set.Spec.Mode != b.from {
			t.Fatalf("%s is to run %s", node, set.Spec.Mode)
		}
	}
	return nil
}

// reported says whether the ProxyConfig names the node and the error.
func (b badCanary) reported(t *testing.T) error {
	pc := &v1alpha1.ProxyConfig{}
	if err := api.Get(t.Context(), client.ObjectKey{Name: "default"}, pc); err != nil {
		return err
	}
	c := meta.FindStatusCondition(pc.Status.Conditions, v1alpha1.ConditionDegraded)
	want := fmt.Sprintf("%s: %s: ", canary, b.reason)
	if c == nil || c.Status != metav1.ConditionTrue || c.Reason != v1alpha1.ReasonRolloutFailing || !strings.Contains(c.Message, want) {
		return fmt.Errorf("condition %+v, want %q", c, want)
	}
	return nil
}

// changePolicy changes fields of the ProxyConfig.
func changePolicy(ctx context.Context, t *testing.T, spec string) {
	t.Helper()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec": {`+spec+`}}`))
	if err := api.Patch(ctx, &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, patch); err != nil {
		t.Fatal(err)
	}
}

// resetPolicy gives the nodes the policy of the other tests again.
func resetPolicy(t *testing.T) {
	t.Helper()
	changePolicy(context.Background(), t, `"mode": "Auto", `+atOnce)
	if err := labtest.Command("kubectl", "wait", "proxyconfig/default", "--for=condition=Degraded=False", "--timeout=90s"); err != nil {
		t.Error(err)
	}
}

// ownTable has the canary have nftables rules that no other program can change, until they are released.
func ownTable(rules string) func(t *testing.T) (release func()) {
	return func(t *testing.T) (release func()) {
		t.Helper()
		cmd := exec.Command("nsenter", "--net="+nsPath(canary), "nft", "-i")
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
			_, err := inNode(canary, append([]string{"nft", "list", "table"}, table...)...)
			return err
		})
		return release
	}
}

// hangAgent stops the canary's agent until it is to go on.
func hangAgent(t *testing.T) (goOn func()) {
	t.Helper()
	pid, err := agentPID(canary)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	t.Cleanup(goOn)
	return goOn
}
