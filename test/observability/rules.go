// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package observability tests the alerts, their runbooks and the dashboard: with promtool, and
// against what the programs export. The end-to-end tests run the same queries on a lab.
package observability

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// Rule is an alert, or a recording rule.
type Rule struct {
	Alert       string            `json:"alert"`
	Record      string            `json:"record"`
	Expr        string            `json:"expr"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// MetricName finds the metrics of the programs in a text; histograms with the name of a part.
var MetricName = regexp.MustCompile(`\b(?:kubeproxy|fairlead|leader_election|controller_runtime)_[a-z_]+[a-z]\b`)

// Read reads a file of the repository.
func Read(t *testing.T, path ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{labtest.Repo}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Alerts returns the alerts of config/prometheus, and the text of the rules as Prometheus reads it.
func Alerts(t *testing.T) ([]Rule, []byte) {
	t.Helper()
	var manifest struct {
		Spec json.RawMessage `json:"spec"`
	}
	if err := yaml.Unmarshal(Read(t, "config", "prometheus", "rules.yaml"), &manifest); err != nil {
		t.Fatal(err)
	}
	rules := rulesOf(t, manifest.Spec)
	if len(rules) < 8 {
		t.Fatal(rules)
	}
	return rules, manifest.Spec
}

// ScaleRules returns the recording rules of Kubernetes' scale tests.
func ScaleRules(t *testing.T) []Rule {
	t.Helper()
	return rulesOf(t, Read(t, "test", "observability", "testdata", "scale.yaml"))
}

func rulesOf(t *testing.T, text []byte) []Rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []Rule `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil || len(file.Groups) != 1 {
		t.Fatal(err, file)
	}
	return file.Groups[0].Rules
}

// Queries returns those of the dashboard.
func Queries(t *testing.T) (out []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(Read(t, "config", "grafana", "fairlead.json"), &dashboard); err != nil {
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

// Promtool runs promtool in a folder with the rules, the files of testdata and others; the error has its output.
func Promtool(t *testing.T, more map[string][]byte, args ...string) error {
	t.Helper()
	tool := exec.CommandContext(t.Context(), filepath.Join(labtest.Repo, "hack", "promtool.sh"))
	tool.Stderr = os.Stderr
	path, err := tool.Output()
	if err != nil {
		t.Fatalf("build promtool: %v", err)
	}
	dir := t.TempDir()
	_, rules := Alerts(t)
	files := map[string][]byte{"rules.yaml": rules}
	for _, name := range []string{"alerts.yaml", "scale.yaml"} {
		files[name] = Read(t, "test", "observability", "testdata", name)
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
		return fmt.Errorf("promtool %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
