// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

func metricsOf(t *testing.T, objs ...client.Object) (*Metrics, *prometheus.Registry) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	m := New(fake.NewClientBuilder().WithScheme(scheme).WithObjects(objs...).Build(), nil, clocktesting.NewFakePassiveClock(time.Unix(1_700_000_000, 0)))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m.Collectors()...)
	return m, registry
}

// TestState checks what the metrics say of ProxyConfigs and ProxyRollouts.
func TestState(t *testing.T) {
	config := func(name string, nodes *v1alpha1.NodeCounts) client.Object {
		return &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.ProxyConfigStatus{Nodes: nodes}}
	}
	rollout := func(name string, phase v1alpha1.RolloutPhase) client.Object {
		return &v1alpha1.ProxyRollout{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.ProxyRolloutStatus{Phase: phase}}
	}
	inPhase := func(name string, is v1alpha1.RolloutPhase) (lines []string) {
		for _, phase := range []v1alpha1.RolloutPhase{"Pending", "Blocked", "Updating", "Verifying", "Soaking", "AwaitingApproval",
			"Paused", "RollingBack", "RolledBack", "Succeeded", "Superseded"} {
			value := "0"
			if phase == is {
				value = "1"
			}
			lines = append(lines, `fairlead_controller_rollout_phase{phase="`+string(phase)+`",rollout="`+name+`"} `+value)
		}
		return lines
	}
	for name, c := range map[string]struct {
		objs []client.Object
		want []string
	}{
		"nothing":      {},
		"a new policy": {objs: []client.Object{config("p", nil)}},
		"a policy": {objs: []client.Object{config("p", &v1alpha1.NodeCounts{Selected: 9, Programmed: 4, Failing: 3, NotReady: 2})}, want: []string{
			`fairlead_controller_policy_nodes{policy="p",state="selected"} 9`, `fairlead_controller_policy_nodes{policy="p",state="programmed"} 4`,
			`fairlead_controller_policy_nodes{policy="p",state="failing"} 3`, `fairlead_controller_policy_nodes{policy="p",state="not_ready"} 2`}},
		"a rollout":     {objs: []client.Object{rollout("p-1", v1alpha1.RolloutSoaking)}, want: inPhase("p-1", "Soaking")},
		"a new rollout": {objs: []client.Object{rollout("p-1", "")}, want: inPhase("p-1", "")},
		"two rollouts": {objs: []client.Object{rollout("p-1", v1alpha1.RolloutSuperseded), rollout("p-2", v1alpha1.RolloutBlocked)},
			want: append(inPhase("p-1", "Superseded"), inPhase("p-2", "Blocked")...)},
	} {
		t.Run(name, func(t *testing.T) {
			_, registry := metricsOf(t, c.objs...)
			text := ""
			for metric, help := range map[string]string{
				"policy_nodes":  "Nodes of a ProxyConfig, by state (selected, programmed, failing, not_ready).",
				"rollout_phase": "1 for the phase that a ProxyRollout is in, 0 for the others.",
			} {
				if all := strings.Join(c.want, "\n"); strings.Contains(all, metric) {
					text += "# HELP fairlead_controller_" + metric + " " + help + "\n# TYPE fairlead_controller_" + metric + " gauge\n"
				}
			}
			text += strings.Join(c.want, "\n") + "\n"
			err := testutil.GatherAndCompare(registry, strings.NewReader(text), "fairlead_controller_policy_nodes", "fairlead_controller_rollout_phase")
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOnlyTheLeaderMeasures checks that several replicas do not count a change several times.
func TestOnlyTheLeaderMeasures(t *testing.T) {
	for name, c := range map[string]struct {
		leads bool
		want  string
	}{"the leader": {true, "1"}, "another replica": {false, "0"}} {
		t.Run(name, func(t *testing.T) {
			m, registry := metricsOf(t)
			m.leads.Store(c.leads)
			m.convergence.changed(1, m.convergence.clock.Now().Add(-3*time.Second))
			if n, err := testutil.GatherAndCount(registry, "fairlead_controller_convergence_pending_seconds"); n != 1 || err != nil {
				t.Error(n, err)
			}
			if got := testutil.ToFloat64(m.pending); got != 3 {
				t.Errorf("pending for %v s", got)
			}
			m.convergence.evaluate()
			text := testutil.ToFloat64(m.pending)
			families, err := registry.Gather()
			if err != nil || text != 0 {
				t.Fatal(text, err)
			}
			for _, f := range families {
				if f.GetName() == prefix+"convergence_duration_seconds" {
					if h := f.GetMetric()[0].GetHistogram(); h.GetSampleCount() == 1 != c.leads {
						t.Errorf("%d samples, want %s", h.GetSampleCount(), c.want)
					}
				}
			}
		})
	}
}

// TestMetricsAreDocumented compares the metrics with the table in docs/metrics.md: names and labels.
func TestMetricsAreDocumented(t *testing.T) {
	m, _ := metricsOf(t)
	descs := make(chan *prometheus.Desc, 100)
	for _, c := range m.Collectors() {
		c.Describe(descs)
	}
	close(descs)
	registered := sets.Set[string]{}
	form := regexp.MustCompile(`fqName: "([^"]*)".*variableLabels: \{([^}]*)\}`)
	for d := range descs {
		found := form.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("unexpected form of %s", d)
		}
		registered.Insert(found[1] + " " + found[2])
	}
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := sets.Set[string]{}
	row := regexp.MustCompile("(?m)^\\| `(fairlead_controller_[a-z_]+)` \\| [a-z]+ \\| (?:`([a-z]+)`)?(?:, `([a-z]+)`)?")
	for _, found := range row.FindAllStringSubmatch(string(text), -1) {
		documented.Insert(found[1] + " " + strings.Join(slices.DeleteFunc(found[2:], func(s string) bool { return s == "" }), ","))
	}
	if diff := cmp.Diff(sets.List(documented), sets.List(registered)); diff != "" {
		t.Errorf("metrics (-documented +registered):\n%s", diff)
	}
}
