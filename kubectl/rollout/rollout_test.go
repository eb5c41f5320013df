// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestChange checks what is written, and that what has no effect is an error that says so.
func TestChange(t *testing.T) {
	type status = v1alpha1.ProxyRolloutStatus
	cases := map[string]struct {
		status  status
		change  Change
		want    v1alpha1.ProxyRolloutSpec
		wantErr string
	}{
		"pause":   {status{}, Say(v1alpha1.StatePause), v1alpha1.ProxyRolloutSpec{State: v1alpha1.StatePause, ApprovedStages: []string{"first"}}, ""},
		"approve": {status{}, Approve("canary"), v1alpha1.ProxyRolloutSpec{State: v1alpha1.StateRun, ApprovedStages: []string{"first", "canary"}}, ""},
		"approve again": {status{}, Approve("first"),
			v1alpha1.ProxyRolloutSpec{State: v1alpha1.StateRun, ApprovedStages: []string{"first"}}, ""},
		"approve another stage": {status{}, Approve("last"), v1alpha1.ProxyRolloutSpec{}, "has no stage last; it has first, canary"},
		"retry after a failure": {status{Verdict: v1alpha1.VerdictFailed}, Say(v1alpha1.StateRetry),
			v1alpha1.ProxyRolloutSpec{State: v1alpha1.StateRetry, ApprovedStages: []string{"first"}}, ""},
		"abort after a failure that is not undone": {status{Verdict: v1alpha1.VerdictFailed}, Say(v1alpha1.StateAbort),
			v1alpha1.ProxyRolloutSpec{State: v1alpha1.StateAbort, ApprovedStages: []string{"first"}}, ""},
		"retry before the end":   {status{}, Say(v1alpha1.StateRetry), v1alpha1.ProxyRolloutSpec{}, "is not over"},
		"pause after an abort":   {status{Verdict: v1alpha1.VerdictAborted}, Say(v1alpha1.StatePause), v1alpha1.ProxyRolloutSpec{}, "is over (Aborted): only retry"},
		"abort after a success":  {status{Verdict: v1alpha1.VerdictSucceeded}, Say(v1alpha1.StateAbort), v1alpha1.ProxyRolloutSpec{}, "has succeeded"},
		"resume after a failure": {status{Verdict: v1alpha1.VerdictFailed}, Say(v1alpha1.StateRun), v1alpha1.ProxyRolloutSpec{}, "is over (Failed): only retry"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			ctx, stored := context.Background(), types.NamespacedName{Name: "default-1"}
			r := rollout()
			r.Status.Verdict = tc.status.Verdict
			api := builder(t).WithObjects(r).Build()
			var read v1alpha1.ProxyRollout
			if err := api.Get(ctx, stored, &read); err != nil {
				t.Fatal(err)
			}
			err := Apply(ctx, api, &read, tc.change)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("error %v, want %q", err, tc.wantErr)
				}
				return
			}
			var got v1alpha1.ProxyRollout
			if err := client.IgnoreNotFound(api.Get(ctx, stored, &got)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got.Spec); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

// TestLostUpdate checks that a change by another client in between is not overwritten.
func TestLostUpdate(t *testing.T) {
	ctx := context.Background()
	api := builder(t).WithObjects(rollout()).Build()
	var mine, theirs v1alpha1.ProxyRollout
	for _, r := range []*v1alpha1.ProxyRollout{&mine, &theirs} {
		if err := api.Get(ctx, types.NamespacedName{Name: "default-1"}, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := Apply(ctx, api, &theirs, Say(v1alpha1.StateAbort)); err != nil {
		t.Fatal(err)
	}
	if err := Apply(ctx, api, &mine, Say(v1alpha1.StatePromote)); err == nil || !strings.Contains(err.Error(), "object was modified") {
		t.Errorf("error %v, want a conflict", err)
	}
}

func TestOf(t *testing.T) {
	config := func(change func(*v1alpha1.ProxyConfig)) *v1alpha1.ProxyConfig {
		c := &v1alpha1.ProxyConfig{
			ObjectMeta: metav1.ObjectMeta{Name: "default", Generation: 2},
			Status:     v1alpha1.ProxyConfigStatus{ObservedGeneration: 2, Rollout: &v1alpha1.RolloutSummary{Name: "default-1"}},
		}
		change(c)
		return c
	}
	cases := map[string]struct {
		config  *v1alpha1.ProxyConfig
		wantErr string
	}{
		"there is one":      {config(func(*v1alpha1.ProxyConfig) {}), ""},
		"none":              {config(func(c *v1alpha1.ProxyConfig) { c.Status.Rollout = nil }), "has no rollout"},
		"not seen yet":      {config(func(c *v1alpha1.ProxyConfig) { c.Generation = 3 }), "has not seen the latest change"},
		"another policy":    {config(func(c *v1alpha1.ProxyConfig) { c.Name = "edge" }), `"default" not found`},
		"the object is not": {config(func(c *v1alpha1.ProxyConfig) { c.Status.Rollout.Name = "default-2" }), `"default-2" not found`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			api := builder(t).WithObjects(rollout(), tc.config).Build()
			got, err := Of(context.Background(), api, types.NamespacedName{Name: "default"})
			switch {
			case tc.wantErr == "" && (err != nil || got.Name != "default-1"):
				t.Errorf("got %v, %v", got, err)
			case tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)):
				t.Errorf("error %v, want %q", err, tc.wantErr)
			}
		})
	}
}

func TestPrint(t *testing.T) {
	r := rollout()
	r.Spec.State = v1alpha1.StatePause
	r.Status.Phase, r.Status.Stage, r.Status.FromRevision = v1alpha1.RolloutPaused, "canary", "default-0"
	r.Status.Conditions = []metav1.Condition{
		{Type: "Prechecked", Status: "True", Reason: "Prechecked"},
		{Type: "Progressing", Status: "False", Reason: "Paused", Message: "spec.state is Pause"},
	}
	r.Status.FailedNodes = []v1alpha1.FailingNode{{Name: "node-3", Reason: "ChecksFailed", Message: "no connection"}}
	r.Status.SkippedNodes, r.Status.LaggingNodes = []string{"node-8", "node-9"}, []string{"node-3"}
	const want = `Rollout:       default-1, of ProxyConfig default
Phase:         Paused (canary), state Pause
Before:        default-0
Progressing:   False, Paused: spec.state is Pause

STAGE    NODES   UPDATED   VERIFIED   FAILED
first    2       2         2          0   [####################]
canary   10      6         4          1   [########++++--------]
Failed:           node-3, ChecksFailed: no connection
Not ready:        node-8, node-9
Late to return:   node-3
`
	var got bytes.Buffer
	if err := Print(&got, r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

func rollout() *v1alpha1.ProxyRollout {
	return &v1alpha1.ProxyRollout{
		ObjectMeta: metav1.ObjectMeta{Name: "default-1"},
		Spec:       v1alpha1.ProxyRolloutSpec{State: v1alpha1.StateRun, ApprovedStages: []string{"first"}},
		Status: v1alpha1.ProxyRolloutStatus{Config: "default", Stages: []v1alpha1.RolloutStageStatus{
			{Name: "first", Total: 2, Updated: 6, Verified: 4}, {Name: "canary", Total: 10, Updated: 6, Verified: 4, Failed: 1},
		}},
	}
}

func builder(t *testing.T) *fake.ClientBuilder {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme)
}
