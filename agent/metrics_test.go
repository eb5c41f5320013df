// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/userspace"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// TestMetricsAreDocumented compares the registered metrics with the table in
// docs/metrics.md: names and labels.
func TestMetricsAreDocumented(t *testing.T) {
	m := newMetrics()
	m.watchHealthChecks(func() (int, int) { return 0, 0 })
	m.registry.MustRegister(conntrack.New(nil, logr.Discard(), nil, nil).Collectors()...)
	m.registry.MustRegister(userspace.NewConnections().Collectors()...)
	descs := make(chan *prometheus.Desc, 1000)
	m.registry.Describe(descs)
	close(descs)
	registered := sets.Set[string]{}
	form := regexp.MustCompile(`fqName: "([^"]*)".*constLabels: \{([a-z_]*).*variableLabels: \{([^}]*)\}`)
	for d := range descs {
		found := form.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("unexpected form of %s", d)
		}
		if name := found[1]; !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			registered.Insert(name + " " + found[2] + found[3])
		}
	}
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := sets.Set[string]{}
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [a-z]+ \\| (?:`([a-z_]+)`)?")
	for _, found := range row.FindAllStringSubmatch(string(text), -1) {
		documented.Insert(found[1] + " " + found[2])
	}
	if diff := cmp.Diff(sets.List(documented), sets.List(registered)); diff != "" {
		t.Errorf("metrics (-documented +registered):\n%s", diff)
	}
}

// sample reads the value of a metric, or the number and sum of a histogram's samples.
func sample(t *testing.T, m *metrics, name string, labels ...string) (value, sum float64) {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			var values []string
			for _, l := range s.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && cmp.Equal(values, labels) {
				h := s.GetHistogram()
				return s.GetCounter().GetValue() + s.GetGauge().GetValue() + float64(h.GetSampleCount()), h.GetSampleSum()
			}
		}
	}
	t.Fatalf("no metric %s %v", name, labels)
	return 0, 0
}

// TestProgrammingLatency measures changes that came by the watch, each once and
// from its beginning, however often the kernel refuses it.
func TestProgrammingLatency(t *testing.T) {
	h, m := newHarness(t), newMetrics()
	clk := clocktesting.NewFakeClock(time.Now())
	h.loop.clock, h.in.triggers.now = clk, clk.Now
	h.report = m.observe
	store := &sliceStore{ctx: t.Context(), in: h.in, failed: func(string, error) {},
		guard: &guard{known: h.in.endpoints}}
	slice := func(began time.Time, endpoints ...string) *v1alpha1.ServiceRuleSlice {
		s := &v1alpha1.ServiceRuleSlice{Spec: *web("10.96.0.1", endpoints...)}
		s.Namespace, s.Name, s.Annotations = webName.Namespace, webName.Name, model.TriggerAnnotation(began)
		return s
	}
	want := func(what string, count, sum float64) {
		t.Helper()
		if gotCount, gotSum := sample(t, m, "kubeproxy_network_programming_duration_seconds"); gotCount != count || gotSum != sum {
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
	h.in.setNode(testNodeRules(1))
	h.in.nodeSynced()
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
	want("nobody knows when it began", 1, 4)
	change(slice(clk.Now().Add(time.Hour), "10.244.1.7"))
	want("the other clock is ahead", 2, 4)
	if n, _ := sample(t, m, "kubeproxy_sync_proxy_rules_nftables_sync_failures_total"); n != 1 {
		t.Errorf("%v failures, want 1", n)
	}
}

func TestTriggersForget(t *testing.T) {
	now := time.Unix(1000, 0)
	tr := newTriggers(func() time.Time { return now })
	a := types.NamespacedName{Name: "a"}
	tr.note(a, now.Add(time.Second))
	tr.forget(a)
	if got := tr.take(changes{slices: map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec{a: nil}}, nil); got != nil || len(tr.seen) > 0 {
		t.Errorf("measured %v of a slice that is gone, kept %v", got, tr.seen)
	}
}

func TestStrandedMetric(t *testing.T) {
	m := newMetrics()
	o := good()
	o.counts.Stranded = resolve.Stranded{Internal: 2, External: 3}
	m.observe(o)
	for policy, want := range map[string]float64{"internal": 2, "external": 3} {
		if got, _ := sample(t, m, "kubeproxy_sync_proxy_rules_no_local_endpoints_total", policy); got != want {
			t.Errorf("%s: got %v, want %v", policy, got, want)
		}
	}
}
