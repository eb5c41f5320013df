// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/fairlead-proxy/fairlead/agent/internal/metricstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/modes"
	"github.com/fairlead-proxy/fairlead/agent/report"
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
	m.WatchConntrack(func(context.Context) (conntrack.Stats, error) { return conntrack.Stats{}, nil })
	m.AddModes(modes.All())
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
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [a-z]+ \\| (?:`([a-z_]+)`)?(?:, `([a-z_]+)`)?(?:, `([a-z_]+)`)?")
	for _, found := range row.FindAllStringSubmatch(string(text), -1) {
		if !strings.HasPrefix(found[1], "fairlead_controller_") {
			labels := slices.DeleteFunc(found[2:], func(s string) bool { return s == "" })
			documented.Insert(found[1] + " " + strings.Join(labels, ","))
		}
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

func TestReturnsMetric(t *testing.T) {
	m := NewMetrics()
	for _, returns := range []int64{0, 1, 1, 3} {
		o := good()
		o.Returns = returns
		m.Observe(o)
		if got, _ := metricstest.Sample(t, m.Registry, "fairlead_agent_revision_returns_total"); got != float64(returns) {
			t.Errorf("got %v, want %d", got, returns)
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

// TestObserve checks what each snapshot adds to the metrics.
func TestObserve(t *testing.T) {
	at := time.Unix(2000, 500*int64(time.Millisecond))
	programmed := func(step report.Step) report.Snapshot {
		s := good()
		s.Programmed.Time, s.Programmed.Slices = at, 1
		s.Programmed.Counts = resolve.Counts{Services: 2, Frontends: 3, Endpoints: 4}
		s.Step = step
		return s
	}
	const mode = "mode_info NFTables  "
	partial := report.Step{Operations: 5, Duration: 2 * time.Second, Queued: time.Unix(1990, 0), Began: []time.Time{at.Add(-3 * time.Second), at.Add(time.Hour)}}
	full := report.Step{Synced: true, Duration: 4 * time.Second, Repaired: 6}
	refused := programmed(partial)
	refused.Problems = []report.Problem{{Kind: report.KernelError, Err: errors.New("trouble")}}
	first := programmed(partial)
	first.Programmed = nil
	for name, c := range map[string]struct {
		snapshot report.Snapshot
		want     map[string]string
	}{
		"nothing is programmed": {first, map[string]string{"sync_proxy_rules_last_queued_timestamp_seconds": "1990"}},
		"the kernel refuses":    {refused, map[string]string{mode: "1", "sync_proxy_rules_last_queued_timestamp_seconds": "1990", "programming_failures_total": "1"}},
		"nothing was done": {programmed(report.Step{}), map[string]string{mode: "1", "sync_proxy_rules_last_timestamp_seconds": "2000.5",
			"programmed services": "2", "programmed frontends": "3", "programmed endpoints": "4", "programmed slices": "1"}},
		"a change": {programmed(partial), map[string]string{mode: "1", "sync_proxy_rules_last_timestamp_seconds": "2000.5", "sync_proxy_rules_last_queued_timestamp_seconds": "1990",
			"programmed services": "2", "programmed frontends": "3", "programmed endpoints": "4", "programmed slices": "1",
			"sync_proxy_rules_duration_seconds": "1 of 2", "sync_partial_proxy_rules_duration_seconds": "1 of 2",
			"network_programming_duration_seconds": "2 of 3", "kernel_operations_total": "5"}},
		"all was compared": {programmed(full), map[string]string{mode: "1", "sync_proxy_rules_last_timestamp_seconds": "2000.5",
			"programmed services": "2", "programmed frontends": "3", "programmed endpoints": "4", "programmed slices": "1",
			"sync_proxy_rules_duration_seconds": "1 of 4", "sync_full_proxy_rules_duration_seconds": "1 of 4", "repairs_total": "6"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMetrics()
			m.Observe(c.snapshot)
			if diff := cmp.Diff(c.want, samples(t, m.Registry)); diff != "" {
				t.Errorf("metrics (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWatched checks the metrics that are read when they are asked for.
func TestWatched(t *testing.T) {
	for name, c := range map[string]struct {
		failure error
		want    map[string]string
	}{
		"ports are open":      {nil, map[string]string{"listening": "1"}},
		"a port is held open": {errors.New("in use"), map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMetrics()
			m.WatchHealthChecks(func() (int, int) { return 2, 3 })
			m.WatchPorts(func() error { return c.failure })
			m.WatchHeld(func() source.Held { return source.Held{Slices: 4, Endpoints: 5} })
			m.WatchFailed("noderulesets")
			c.want["health_check_ports open"], c.want["health_check_ports failing"] = "2", "3"
			c.want["held_slices"], c.want["held_endpoints"] = "4", "5"
			c.want["watch_failures_total noderulesets"] = "1"
			if diff := cmp.Diff(c.want, samples(t, m.Registry)); diff != "" {
				t.Errorf("metrics (-want +got):\n%s", diff)
			}
		})
	}
}

// TestMetricsHaveHelp checks that each says what it is, and that histograms reach from a moment to
// minutes.
func TestMetricsHaveHelp(t *testing.T) {
	m := NewMetrics()
	m.WatchHealthChecks(func() (int, int) { return 0, 0 })
	m.WatchPorts(func() error { return nil })
	m.WatchHeld(func() source.Held { return source.Held{} })
	m.LookedForStaleFlows(corev1.IPv4Protocol, 0, 0)
	m.WatchFailed("x")
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	runtime := 0
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "go_") || strings.HasPrefix(f.GetName(), "process_") {
			runtime++
		}
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", f.GetName())
		}
		for _, one := range f.GetMetric() {
			if buckets := one.GetHistogram().GetBucket(); one.GetHistogram() != nil {
				if n := len(buckets); n < 15 || buckets[0].GetUpperBound() > 0.01 || buckets[n-1].GetUpperBound() < 10 {
					t.Errorf("%s has %d buckets: %v", f.GetName(), n, buckets)
				}
			}
		}
	}
	if runtime < 10 {
		t.Errorf("%d metrics of the process", runtime)
	}
}

// samples returns what is not zero of the agent's metrics, by name without prefix, and label:
// "value", or "observations of sum".
func samples(t *testing.T, registry *prometheus.Registry) map[string]string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range families {
		name := strings.TrimPrefix(strings.TrimPrefix(f.GetName(), "kubeproxy_"), "fairlead_agent_")
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		for _, one := range f.GetMetric() {
			key, value := name, one.GetGauge().GetValue()+one.GetCounter().GetValue()
			for _, label := range one.GetLabel() {
				key += " " + label.GetValue()
			}
			if h := one.GetHistogram(); h.GetSampleCount() > 0 {
				out[key] = fmt.Sprint(h.GetSampleCount(), " of ", h.GetSampleSum())
			} else if value != 0 {
				out[key] = fmt.Sprint(value)
			}
		}
	}
	return out
}
