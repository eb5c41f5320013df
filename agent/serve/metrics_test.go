// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/fairlead-proxy/fairlead/agent/internal/metricstest"
	"github.com/fairlead-proxy/fairlead/agent/modes"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// TestMetricsAreDocumented compares the registered metrics with the table in
// docs/metrics.md: names and labels.
func TestMetricsAreDocumented(t *testing.T) {
	m := NewMetrics()
	m.WatchHealthChecks(func() (int, int) { return 0, 0 })
	m.WatchPorts(func() error { return nil })
	m.WatchHeld(func() source.Held { return source.Held{} })
	for _, mode := range modes.All() {
		m.Registry.MustRegister(mode.Collectors...)
	}
	descs := make(chan *prometheus.Desc, 1000)
	m.Registry.Describe(descs)
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
	text, err := os.ReadFile("../../docs/metrics.md")
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

func TestStrandedMetric(t *testing.T) {
	m := NewMetrics()
	o := good()
	o.Programmed.Counts.Stranded = resolve.Stranded{Internal: 2, External: 3}
	m.Observe(o)
	for policy, want := range map[string]float64{"internal": 2, "external": 3} {
		if got, _ := metricstest.Sample(t, m.Registry, "kubeproxy_sync_proxy_rules_no_local_endpoints_total", policy); got != want {
			t.Errorf("%s: got %v, want %v", policy, got, want)
		}
	}
}

func TestConntrackMetrics(t *testing.T) {
	m := NewMetrics()
	m.LookedForStaleFlows(corev1.IPv6Protocol, 2*time.Second, 3)
	m.LookedForStaleFlows(corev1.IPv6Protocol, time.Second, 4)
	if n, sum := metricstest.Sample(t, m.Registry, "kubeproxy_conntrack_reconciler_sync_duration_seconds", "IPv6"); n != 2 || sum != 3 {
		t.Errorf("%v passes of %v s", n, sum)
	}
	if n, _ := metricstest.Sample(t, m.Registry, "kubeproxy_conntrack_reconciler_deleted_entries_total", "IPv6"); n != 7 {
		t.Errorf("%v deleted", n)
	}
}
