// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers"
	"github.com/fairlead-proxy/fairlead/controllers/proxyconfig"
)

// startStatuses runs the reconciler of the status of ProxyConfigs, with a patience of
// three seconds, until the returned function is called.
func startStatuses(t *testing.T) (stop func()) {
	t.Helper()
	yes := true
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: api.Scheme(), Cache: controllers.CacheOptions("default"),
		Controller: crconfig.Controller{SkipNameValidation: &yes},
		Metrics:    metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := proxyconfig.New(mgr.GetClient(), mgr.GetAPIReader(), clock.RealClock{}, 3*time.Second)
	if err := r.SetupWithManager(mgr, controller.Options{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("manager: %v", err)
		}
	}
}

// TestAgentSilent checks that a ProxyConfig says since when an agent does not report, also
// after a restart of the controller, and no longer when the agent reports.
func TestAgentSilent(t *testing.T) {
	const name = "silent"
	config := policy(name, name, 0)
	set := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.NodeRuleSetSpec{
		Policy: v1alpha1.PolicyReference{Name: name, Generation: 1}, Mode: v1alpha1.ModeNFTables, Node: v1alpha1.NodeFacts{Zone: "a"}}}
	create(t, node(name), config, set)
	stop := startStatuses(t)
	// degraded waits for a condition with a status and a part of the message, and returns since
	// when the agent does not report.
	degraded := func(status metav1.ConditionStatus, message string) (since time.Time) {
		t.Helper()
		eventually(t, fmt.Sprintf("Degraded=%s with %q", status, message), func(ctx context.Context) bool {
			current := &v1alpha1.ProxyConfig{}
			if err := api.Get(ctx, client.ObjectKeyFromObject(config), current); err != nil {
				t.Fatal(err)
			}
			since = time.Time{}
			if n := current.Status.NotReadyNodes; len(n) == 1 && n[0].Name == name {
				since = n[0].Since.Time
			}
			c := apimeta.FindStatusCondition(current.Status.Conditions, v1alpha1.ConditionDegraded)
			return c != nil && c.Status == status && strings.Contains(c.Message, message) && since.IsZero() == (status == metav1.ConditionFalse)
		})
		return since
	}
	const silent = "The agent does not report on 1 node: silent since "
	if since := degraded(metav1.ConditionTrue, silent); !since.Equal(set.CreationTimestamp.Time) {
		t.Errorf("an agent that has never started: since %s, want %s", since, set.CreationTimestamp)
	}

	// The agent runs.
	beat := &v1alpha1.NodeHeartbeat{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.NodeHeartbeatSpec{RenewTime: metav1.Now()}}
	create(t, beat)
	renew := func() {
		patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec": {"renewTime": %q}}`, time.Now().UTC().Format(time.RFC3339)))
		if err := api.Patch(t.Context(), beat, patch); err != nil {
			t.Error(err)
		}
	}
	renewing, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(100 * time.Millisecond); renewing.Err() == nil; <-tick.C {
			renew()
		}
	}()
	degraded(metav1.ConditionFalse, "No node reports a failure")

	// It ends.
	cancel()
	<-ended
	last := beat.Spec.RenewTime.Time
	eventually(t, fmt.Sprint("silent since the last heartbeat, ", last), func(context.Context) bool {
		since := degraded(metav1.ConditionTrue, silent)
		return !since.Before(last) && since.Sub(last) <= 2*time.Second
	})
	stop()
	// What the controller that has ended said must not count.
	forget := client.RawPatch(types.MergePatchType, []byte(`{"status": {"notReadyNodes": null, "conditions": null}}`))
	if err := api.Status().Patch(t.Context(), config, forget); err != nil {
		t.Fatal(err)
	}
	stop = startStatuses(t)
	defer stop()
	if since := degraded(metav1.ConditionTrue, silent); !since.Equal(last) {
		t.Errorf("after a restart of the controller: since %s, want %s", since, last)
	}
	renew()
	degraded(metav1.ConditionFalse, "No node reports a failure")
}
