// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/internal/metricstest"
	"github.com/fairlead-proxy/fairlead/agent/serve"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestProgrammingLatency measures changes that came by the watch, each once and
// from its beginning, however often the kernel refuses it.
func TestProgrammingLatency(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Now())
	h, m := newHarnessAt(t, clk), serve.NewMetrics()
	h.report = m.Observe
	store := source.NewSliceSink(t.Context(), h.store, nil, func(string, error) {})
	slice := func(began time.Time, endpoints ...string) *v1alpha1.ServiceRuleSlice {
		s := agenttest.Slice(agenttest.Web("10.96.0.1", endpoints...))
		s.Annotations = model.TriggerAnnotation(began)
		return s
	}
	want := func(what string, count, sum float64) {
		t.Helper()
		if gotCount, gotSum := metricstest.Sample(t, m.Registry, "kubeproxy_network_programming_duration_seconds"); gotCount != count || gotSum != sum {
			t.Errorf("%s: got %v samples of %v s, want %v of %v s", what, gotCount, gotSum, count, sum)
		}
	}
	change := func(s *v1alpha1.ServiceRuleSlice) {
		t.Helper()
		if err := store.Update(s); err != nil {
			t.Fatal(err)
		}
		h.step(t.Context())
	}
	began := clk.Now().UTC()
	clk.Step(time.Second)
	if err := store.Replace([]any{slice(began, "10.244.1.2")}, ""); err != nil {
		t.Fatal(err)
	}
	h.store.SetNode(testNodeRules(1))
	h.store.NodeSynced()
	h.step(t.Context())
	want("what was there", 0, 0)

	change(slice(began, "10.244.1.3"))
	want("began before the list", 0, 0)

	began = clk.Now().UTC().Add(time.Second)
	clk.Step(3 * time.Second)
	h.kernel.Fail("Apply", errors.New("no buffer space available"))
	change(slice(began, "10.244.1.4"))
	want("refused by the kernel", 0, 0)
	clk.Step(2 * time.Second)
	h.step(t.Context())
	want("taken by the kernel", 1, 4)
	change(slice(began, "10.244.1.5"))
	want("changed for another reason", 1, 4)
	change(slice(time.Time{}, "10.244.1.6"))
	want("it is unknown when it began", 1, 4)
	change(slice(clk.Now().Add(time.Hour), "10.244.1.7"))
	want("the other clock is ahead", 2, 4)
	if n, _ := metricstest.Sample(t, m.Registry, "fairlead_agent_programming_failures_total"); n != 1 {
		t.Errorf("%v failures, want 1", n)
	}
}
