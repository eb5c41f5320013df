// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestControllerMetrics checks, with the rights that config/default gives, that the controller
// measures when all nodes have a change, and what it says of policies.
func TestControllerMetrics(t *testing.T) {
	deploy(t)
	s := &services{t: t, ns: namespace(t)}
	cleanUp(t, &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}) // after the controller has stopped, which would write it again
	registry := prometheus.NewRegistry()
	mgr, _ := startMeasured(t, registry)
	<-mgr.Elected()
	create(t, node("n1"), policy("default", "n1", 0))
	eventually(t, "the rules of the node", func(ctx context.Context) bool {
		return api.Get(ctx, client.ObjectKey{Name: "n1"}, &v1alpha1.NodeRuleSet{}) == nil
	})
	beat := &v1alpha1.NodeHeartbeat{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	beat.Spec.RenewTime = metav1.Now()
	create(t, beat)
	sums := func() (pending, count, selected float64) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				switch f.GetName() {
				case "fairlead_controller_convergence_pending_seconds":
					pending = m.GetGauge().GetValue()
				case "fairlead_controller_convergence_duration_seconds":
					count = float64(m.GetHistogram().GetSampleCount())
				case "fairlead_controller_policy_nodes":
					if m.GetLabel()[1].GetValue() == "selected" {
						selected = m.GetGauge().GetValue()
					}
				}
			}
		}
		return pending, count, selected
	}
	// report has the node report all slices that are there, as its agent does.
	report := func(ctx context.Context) {
		var slices v1alpha1.ServiceRuleSliceList
		if err := api.List(ctx, &slices); err != nil {
			t.Fatal(err)
		}
		var digests []string
		for _, s := range slices.Items {
			digests = append(digests, s.Spec.Digest)
		}
		set := ruleSet(t, "n1")
		set.Status.RulesDigest = model.XORDigest(digests...)
		if err := api.Status().Update(ctx, set); client.IgnoreNotFound(err) != nil {
			t.Log(err) // a conflict with the controller; the next attempt follows
		}
		beat.Spec.RenewTime = metav1.NewTime(time.Now())
		if err := api.Update(ctx, beat); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "that the node has what there was", func(ctx context.Context) bool {
		report(ctx)
		pending, _, selected := sums()
		return pending == 0 && selected == 1
	})
	_, before, _ := sums()
	create(t, s.service(), s.endpointSlice(3))
	eventually(t, "a change that the node does not have", func(context.Context) bool {
		pending, _, _ := sums()
		return pending > 0
	})
	if _, count, _ := sums(); count != before {
		t.Errorf("%v changes are measured before the node has them", count-before)
	}
	eventually(t, "the measurement", func(ctx context.Context) bool {
		report(ctx)
		pending, count, _ := sums()
		return pending == 0 && count > before
	})
}
