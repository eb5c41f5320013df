// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package observability tests the alerts, their runbooks and the dashboard: with promtool, and
// against what the programs export.
package observability

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/yaml"
)

const root = "../.."

// rule is an alert.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// alerts returns the alerts of config/prometheus, and the text of the rules as Prometheus reads it.
func alerts(t *testing.T) ([]rule, []byte) {
	t.Helper()
	var manifest struct {
		Spec json.RawMessage `json:"spec"`
	}
	if err := yaml.Unmarshal(read(t, "config", "prometheus", "rules.yaml"), &manifest); err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Groups []struct {
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	if err := json.Unmarshal(manifest.Spec, &spec); err != nil || len(spec.Groups) != 1 || len(spec.Groups[0].Rules) < 8 {
		t.Fatal(err, spec)
	}
	return spec.Groups[0].Rules, manifest.Spec
}

// promtool runs promtool in a folder with the rules and the files of testdata.
func promtool(t *testing.T, more map[string][]byte, args ...string) {
	t.Helper()
	tool := exec.CommandContext(t.Context(), filepath.Join(root, "hack", "promtool.sh"))
	tool.Stderr = os.Stderr
	path, err := tool.Output()
	if err != nil {
		t.Fatalf("build promtool: %v", err)
	}
	dir := t.TempDir()
	_, rules := alerts(t)
	files := map[string][]byte{"rules.yaml": rules}
	for _, name := range []string{"alerts.yaml", "scale.yaml"} {
		files[name] = read(t, "test", "observability", "testdata", name)
	}
	for name, text := range more {
		files[name] = text
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), strings.TrimSpace(string(path)), args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestAlerts has promtool evaluate the alerts, and the recording rules of Kubernetes' scale tests.
func TestAlerts(t *testing.T) {
	promtool(t, nil, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", "scale.yaml")
	promtool(t, nil, "test", "rules", "alerts.yaml")
	tested := string(read(t, "test", "observability", "testdata", "alerts.yaml"))
	all, _ := alerts(t)
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
	for _, q := range queries(t) {
		rules = append(rules, map[string]string{"record": "dashboard:query", "expr": q})
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, map[string][]byte{"dashboard.yaml": text}, "check", "rules", "--lint=none", "dashboard.yaml")
}

func queries(t *testing.T) (out []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(read(t, "config", "grafana", "fairlead.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			out = append(out, target.Expr)
		}
	}
	if len(out) < 10 {
		t.Fatalf("only %d queries", len(out))
	}
	return out
}

// TestRunbooks checks that each alert has what a person needs, and a page, and each page an alert.
func TestRunbooks(t *testing.T) {
	all, _ := alerts(t)
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
	files, err := os.ReadDir(filepath.Join(root, "docs", "runbooks"))
	if err != nil {
		t.Fatal(err)
	}
	pages := sets.Set[string]{}
	for _, f := range files {
		pages.Insert(f.Name())
		var headings []string
		for _, line := range strings.Split(string(read(t, "docs", "runbooks", f.Name())), "\n") {
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

// metricName finds the metrics of the programs in a text; histograms with the name of a part.
var metricName = regexp.MustCompile(`\b(?:kubeproxy|fairlead|leader_election|controller_runtime)_[a-z_]+[a-z]\b`)

var histogramPart = regexp.MustCompile(`_(bucket|sum|count)$`)

// TestMetricsExist checks that the programs export each metric that alerts, the dashboard, and the rules of
// Kubernetes' scale tests use.
func TestMetricsExist(t *testing.T) {
	exported := exportedMetrics(t)
	texts := map[string]string{"scale tests": string(read(t, "test", "observability", "testdata", "scale.yaml"))}
	all, _ := alerts(t)
	for _, a := range all {
		texts[a.Alert] = a.Expr
	}
	for _, q := range queries(t) {
		texts[q] = q
	}
	for what, text := range texts {
		text = strings.ReplaceAll(text, "kubeproxy:kubeproxy_network_programming_duration:histogram_quantile", "")
		found := metricName.FindAllString(text, -1)
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
	pages, err := filepath.Glob(filepath.Join(root, "docs", "runbooks", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, filepath.Join(root, "docs", "metrics.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, quoted := range regexp.MustCompile("`[^`\n]+`").FindAllString(string(text), -1) {
			for _, name := range metricName.FindAllString(quoted, -1) {
				if exported[name] == "" && !strings.Contains(quoted, "{") {
					t.Errorf("%s names %s, which no program exports", filepath.Base(page), name)
				}
			}
		}
	}
}

// TestLeaseName checks that the alert of the leader names the Lease.
func TestLeaseName(t *testing.T) {
	name := regexp.MustCompile(`leaseName = "([^"]+)"`).FindSubmatch(read(t, "controllers", "leader.go"))
	if name == nil || !strings.Contains(string(read(t, "config", "prometheus", "rules.yaml")), `{name="`+string(name[1])+`"}`) {
		t.Errorf("no alert names the Lease %q", name)
	}
}
