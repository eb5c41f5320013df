// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
	"github.com/fairlead-proxy/fairlead/test/observability"
)

// withoutAnswer are the queries that have no answer on a healthy lab, and why.
var withoutAnswer = map[string]string{
	"count by (mode, reason) (fairlead_agent_limitations)": "no node has a limitation in the mode NFTables",
}

// TestQueriesInRollout runs the queries of the dashboard, the recording rules of Kubernetes' scale tests and the alerts with what
// agents and controllers export before and after changes, in the middle of a rollout. Each query has an answer, and so has each
// metric of an alert, and no alert fires.
func TestQueriesInRollout(t *testing.T) {
	if !*rolloutsToo {
		t.Skip("nodes report once a minute: run it with -rollouts")
	}
	token := metricsToken(t)
	t.Cleanup(func() {
		changePolicy(context.Background(), t, `"sessionAffinity": {"timeoutSeconds": 10800}`)
		resetPolicy(t)
	})
	changePolicy(t.Context(), t, `"mode": "NFTables", `+atOnce)
	eventually(t, 2*time.Minute, nothingFound)
	before, err := scrape(t, token)
	if err != nil {
		t.Fatal(err)
	}
	newEcho(t, newNamespace(t), 3)
	changePolicy(t.Context(), t, `"sessionAffinity": {"timeoutSeconds": 10801},
		"rollout": {"strategy": "Staged", "stages": [{"name": "first", "nodes": 1, "soakSeconds": 1, "approval": "Required"}]}`)
	tests := queryTests(t)
	eventually(t, 5*time.Minute, func() error { // until nodes have reported the changes, and compared all rules
		after, err := scrape(t, token)
		if err != nil {
			return err
		}
		tests.InputSeries = seriesOf(before, after)
		text, err := yaml.Marshal(map[string]any{"evaluation_interval": "1m", "tests": []promtoolTest{tests}})
		if err != nil {
			return err
		}
		return observability.Promtool(t, map[string][]byte{"lab.yaml": text}, "test", "rules", "lab.yaml")
	})
	t.Logf("%d queries, %d series", len(tests.Queries), len(tests.InputSeries))
}

// nothingFound returns what `check` finds.
func nothingFound() error {
	code, out, errOut := fairlead(context.Background(), "check", "--kernel")
	if code != 0 {
		return fmt.Errorf("check exits with %d: %s%s", code, out, errOut)
	}
	return nil
}

// promtoolTest is one of promtool's: series with a value each minute, and what queries answer.
type promtoolTest struct {
	Interval    string          `json:"interval"`
	InputSeries []promtoolInput `json:"input_series"`
	Queries     []promtoolQuery `json:"promql_expr_test"`
}

type promtoolInput struct {
	Series string `json:"series"`
	Values string `json:"values"`
}

type promtoolQuery struct {
	Expr     string           `json:"expr"`
	EvalTime string           `json:"eval_time"`
	Samples  []promtoolSample `json:"exp_samples,omitempty"`
}

type promtoolSample struct {
	Labels string  `json:"labels"`
	Value  float64 `json:"value"`
}

// selector finds what an alert selects.
var selector = regexp.MustCompile(observability.MetricName.String() + `(\{[^}]*\})?`)

// queryTests asks whether each query has an answer that is a number. None is negative.
func queryTests(t *testing.T) promtoolTest {
	t.Helper()
	out := promtoolTest{Interval: "1m"}
	answered := func(query string) {
		out.Queries = append(out.Queries, promtoolQuery{fmt.Sprintf("clamp_max(count((%s) >= 0), 1)", query), "1m", []promtoolSample{{"{}", 1}}})
	}
	none := func(query string) {
		out.Queries = append(out.Queries, promtoolQuery{fmt.Sprintf("count(%s)", query), "1m", nil})
	}
	for _, query := range observability.Queries(t) {
		if withoutAnswer[query] != "" {
			none(query)
			continue
		}
		answered(query)
	}
	for _, rule := range observability.ScaleRules(t) {
		answered(rule.Expr)
	}
	alerts, _ := observability.Alerts(t)
	for _, alert := range alerts {
		none(alert.Expr)
		for _, metric := range selector.FindAllString(alert.Expr, -1) {
			answered(metric)
		}
	}
	return out
}

// metricsToken returns the token of an account that may read the controllers' metrics, as Prometheus has one.
func metricsToken(t *testing.T) string {
	t.Helper()
	namespace := newNamespace(t)
	for _, args := range [][]string{
		{"create", "serviceaccount", "prometheus", "-n", namespace},
		{"create", "clusterrolebinding", namespace, "--clusterrole=fairlead-metrics-reader", "--serviceaccount=" + namespace + ":prometheus"},
	} {
		if err := labtest.Command("kubectl", args...); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := labtest.Command("kubectl", "delete", "clusterrolebinding", namespace); err != nil {
			t.Error(err)
		}
	})
	token, err := exec.CommandContext(t.Context(), "kubectl", "create", "token", "prometheus", "-n", namespace).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(token))
}

// scrape returns the values of all series of agents and controllers, with the label instance as Prometheus adds it.
func scrape(t *testing.T, token string) (map[string]string, error) {
	out := map[string]string{}
	for _, node := range labNodes {
		text, err := askAgent(node, "/metrics")
		if err != nil {
			return nil, err
		}
		addSeries(out, node+":10249", string(text))
	}
	var pods corev1.PodList
	if err := api.List(t.Context(), &pods, client.InNamespace("fairlead-system"), client.MatchingLabels{"app.kubernetes.io/component": "controller"}); err != nil {
		return nil, err
	}
	for i := range pods.Items {
		node := pods.Items[i].Spec.NodeName
		text, err := askController(node, token)
		if err != nil {
			return nil, err
		}
		addSeries(out, node+":10271", text)
	}
	return out, nil
}

// askController returns the metrics of the controller on a node.
func askController(node, token string) (string, error) {
	transport := &http.Transport{DialContext: network.DialContext(nsPath(node)), DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // it signs its certificate itself
	request, err := http.NewRequest(http.MethodGet, "https://127.0.0.1:10271/metrics", nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return string(text), err
}

// sample is a line of metrics: name, labels and value.
var sample = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? (\S+)$`)

// addSeries adds the series of a text that queries may name.
func addSeries(to map[string]string, instance, text string) {
	for _, line := range sample.FindAllStringSubmatch(text, -1) {
		if observability.MetricName.MatchString(line[1]) {
			labels := strings.TrimPrefix(line[2]+`,instance="`+instance+`"`, ",")
			to[line[1]+"{"+labels+"}"] = plain(line[3])
		}
	}
}

// plain writes a value as promtool reads it, without an exponent.
func plain(value string) string {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return value
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// seriesOf has the first values of series a minute before the second ones.
func seriesOf(before, after map[string]string) (out []promtoolInput) {
	for series, value := range after {
		first := before[series]
		if first == "" {
			first = "_"
		}
		out = append(out, promtoolInput{series, first + " " + value})
	}
	slices.SortFunc(out, func(a, b promtoolInput) int { return strings.Compare(a.Series, b.Series) })
	return out
}
