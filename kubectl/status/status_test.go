// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"bytes"
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/kubectltest"
)

// TestGolden compares the text for people, and the YAML for programs, with files.
func TestGolden(t *testing.T) {
	api := fake.NewClientBuilder().WithScheme(kubectltest.Scheme(t)).
		WithRuntimeObjects(kubectltest.Objects(t, "testdata/cluster.yaml")...).Build()
	in, err := Collect(context.Background(), api, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "paused", Of(in))
	compare(t, "nothing", Of(Input{}))
}

func compare(t *testing.T, name string, r Report) {
	t.Helper()
	for suffix, wide := range map[string]bool{".txt": false, "-wide.txt": true} {
		var text bytes.Buffer
		if err := r.Print(&text, wide); err != nil {
			t.Fatal(err)
		}
		kubectltest.Golden(t, name+suffix, text.Bytes())
	}
	kubectltest.GoldenYAML(t, name+".yaml", r)
}

// TestWell checks what makes the command exit with 1.
func TestWell(t *testing.T) {
	condition := func(kind string, status metav1.ConditionStatus, reason string) []metav1.Condition {
		return []metav1.Condition{{Type: kind, Status: status, Reason: reason}}
	}
	config := func(c []metav1.Condition) Input {
		return Input{Configs: []v1alpha1.ProxyConfig{{Status: v1alpha1.ProxyConfigStatus{Conditions: c}}}}
	}
	node := func(c []metav1.Condition) Input {
		return Input{Nodes: []v1alpha1.NodeRuleSet{{Status: v1alpha1.NodeRuleSetStatus{Conditions: c}}}}
	}
	rollout := func(s v1alpha1.ProxyRolloutStatus) Input {
		in := config(nil)
		in.Configs[0].Status.Rollout = &v1alpha1.RolloutSummary{Name: "r"}
		in.Rollouts = []v1alpha1.ProxyRollout{{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Status: s}}
		return in
	}
	cases := map[string]struct {
		in   Input
		want bool
	}{
		"a degraded policy":       {config(condition("Degraded", "True", "NodesFailing")), false},
		"a policy that is not":    {config(condition("Available", "False", "NodesFailing")), false},
		"a policy that proceeds":  {config(condition("Progressing", "True", "NodesPending")), true},
		"a programmed node":       {node(condition("Programmed", "True", "Programmed")), true},
		"a node that failed":      {node(condition("Programmed", "False", "KernelError")), false},
		"a node that is new":      {node(nil), false},
		"a node that was cleaned": {node(condition("Programmed", "False", "CleanedUp")), true},
		"a rollout that proceeds": {rollout(v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutSoaking}), true},
		"a blocked rollout":       {rollout(v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutBlocked}), false},
		"a failed rollout":        {rollout(v1alpha1.ProxyRolloutStatus{Verdict: v1alpha1.VerdictFailed, Phase: v1alpha1.RolloutRolledBack}), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if r := Of(tc.in); r.Well() != tc.want {
				t.Errorf("Well is %v", r.Well())
			}
		})
	}
}
