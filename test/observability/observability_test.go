// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package observability

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// TestAlerts has promtool evaluate the alerts, and the recording rules of Kubernetes' scale tests.
func TestAlerts(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", "scale.yaml"}, {"test", "rules", "alerts.yaml"}} {
		if err := Promtool(t, nil, args...); err != nil {
			t.Error(err)
		}
	}
	tested := string(Read(t, "test", "observability", "testdata", "alerts.yaml"))
	all, _ := Alerts(t)
	for _, a := range all {
		if n := strings.Count(tested, "alertname: "+a.Alert+"\n"); n == 0 {
			t.Errorf("no test has %s fire", a.Alert)
		}
		if strings.Count(tested, "alertname: "+a.Alert+", ") == 0 {
			t.Errorf("no test has %s not fire", a.Alert)
		}
	}
}

// TestDashboardQueries has promtool parse the dashboard's queries.
func TestDashboardQueries(t *testing.T) {
	var rules []map[string]string
	for _, q := range Queries(t) {
		rules = append(rules, map[string]string{"record": "dashboard:query", "expr": q})
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := Promtool(t, map[string][]byte{"dashboard.yaml": text}, "check", "rules", "--lint=none", "dashboard.yaml"); err != nil {
		t.Error(err)
	}
}

// TestRunbooks checks that each alert has what a person needs, and a page, and each page an alert.
func TestRunbooks(t *testing.T) {
	all, _ := Alerts(t)
	want := sets.Set[string]{}
	for _, a := range all {
		want.Insert(a.Alert + ".md")
		if url := "https://github.com/fairlead-proxy/fairlead/blob/main/docs/runbooks/" + a.Alert + ".md"; a.Annotations["runbook_url"] != url {
			t.Errorf("%s: runbook_url %q", a.Alert, a.Annotations["runbook_url"])
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" || !slices.Contains([]string{"critical", "warning"}, a.Labels["severity"]) {
			t.Errorf("%s: %v, %v", a.Alert, a.Labels, a.Annotations)
		}
	}
	files, err := os.ReadDir(filepath.Join(labtest.Repo, "docs", "runbooks"))
	if err != nil {
		t.Fatal(err)
	}
	pages := sets.Set[string]{}
	for _, f := range files {
		pages.Insert(f.Name())
		var headings []string
		for _, line := range strings.Split(string(Read(t, "docs", "runbooks", f.Name())), "\n") {
			if strings.HasPrefix(line, "#") {
				headings = append(headings, line)
			}
		}
		name := strings.TrimSuffix(f.Name(), ".md")
		if diff := cmp.Diff([]string{"# " + name, "## Meaning", "## Impact", "## Diagnosis", "## Mitigation"}, headings); diff != "" {
			t.Errorf("headings of %s (-want +got):\n%s", f.Name(), diff)
		}
	}
	if diff := cmp.Diff(sets.List(want), sets.List(pages)); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}

var histogramPart = regexp.MustCompile(`_(bucket|sum|count)$`)

// TestMetricsExist checks that the programs export each metric that alerts, the dashboard, and the rules of
// Kubernetes' scale tests use.
func TestMetricsExist(t *testing.T) {
	exported := exportedMetrics(t)
	texts := map[string]string{"scale tests": string(Read(t, "test", "observability", "testdata", "scale.yaml"))}
	all, _ := Alerts(t)
	for _, a := range all {
		texts[a.Alert] = a.Expr
	}
	for _, q := range Queries(t) {
		texts[q] = q
	}
	for what, text := range texts {
		text = strings.ReplaceAll(text, "kubeproxy:kubeproxy_network_programming_duration:histogram_quantile", "")
		found := MetricName.FindAllString(text, -1)
		if len(found) == 0 {
			t.Errorf("%s uses no metric of the programs", what)
		}
		for _, name := range found {
			kind, ok := exported[name]
			if base := histogramPart.ReplaceAllString(name, ""); !ok && exported[base] == "histogram" {
				kind, ok = "part", true
			}
			if !ok || kind == "histogram" {
				t.Errorf("%s uses %s, which no program exports", what, name)
			}
		}
	}
}

// TestDocumentedMetricsExist checks every metric that a document names.
func TestDocumentedMetricsExist(t *testing.T) {
	exported := exportedMetrics(t)
	pages, err := filepath.Glob(filepath.Join(labtest.Repo, "docs", "runbooks", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, filepath.Join(labtest.Repo, "docs", "metrics.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, quoted := range regexp.MustCompile("`[^`\n]+`").FindAllString(string(text), -1) {
			for _, name := range MetricName.FindAllString(quoted, -1) {
				if exported[name] == "" && !strings.Contains(quoted, "{") {
					t.Errorf("%s names %s, which no program exports", filepath.Base(page), name)
				}
			}
		}
	}
}

// TestLeaseName checks that the alert of the leader names the Lease.
func TestLeaseName(t *testing.T) {
	name := regexp.MustCompile(`leaseName = "([^"]+)"`).FindSubmatch(Read(t, "controllers", "leader.go"))
	if name == nil || !strings.Contains(string(Read(t, "config", "prometheus", "rules.yaml")), `{name="`+string(name[1])+`"}`) {
		t.Errorf("no alert names the Lease %q", name)
	}
}
