// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/kubectltest"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// shop is what a node has of a Service: equal, with another endpoint, not there, and of no Service.
func shop() inspection.Report {
	forward := func(endpoints ...string) *inspection.Backend {
		return &inspection.Backend{Verdict: model.Forward, Endpoints: endpoints}
	}
	return inspection.Report{
		Version: inspection.Version, Node: "node-2", Mode: v1alpha1.ModeNFTables, Generation: 7, RulesDigest: "0123456789abcdef",
		Frontends: []inspection.Frontend{
			{Service: "shop/web", Port: "http", Kind: model.KindNodePort, Address: "0.0.0.0:30080/tcp", Present: true, Equal: true,
				Internal: forward("10.244.1.5:8080", "10.244.2.5:8080"), External: &inspection.Backend{Verdict: model.Drop},
				Rules: []string{"add element ip fairlead ports { tcp . 0.0.0.0 . 30080 : tcp . 10.96.1.1 . 80 . 0x00000001 }",
					"add element ip fairlead endpoints { tcp . 10.96.1.1 . 80 . 0 : 10.244.1.5 . 8080 }"}},
			{Service: "shop/web", Port: "http", Kind: model.KindClusterIP, Address: "10.96.1.1:80/tcp", Present: true,
				Internal: forward("10.244.1.5:8080"),
				Rules: []string{"add element ip fairlead services { tcp . 10.96.1.1 . 80 : goto cluster-2 }",
					"add element ip fairlead endpoints { tcp . 10.96.1.1 . 80 . 0 : 10.244.1.5 . 8080 }"}},
			{Service: "shop/db", Kind: model.KindClusterIP, Address: "10.96.1.2:5432/tcp"},
			{Address: "10.96.9.9:80/tcp", Present: true, Internal: &inspection.Backend{Verdict: model.Reject}},
		},
		Differences: []inspection.Difference{
			{Object: "chain ip fairlead frontends", Problem: inspection.Different, Have: "other rules"},
			{Object: "endpoints of 10.96.1.1:80/tcp", Problem: inspection.Different, Services: []string{"shop/web"}, Have: "10.244.1.5:8080", Want: "10.244.1.5:8080, 10.244.2.5:8080"},
			{Object: "frontend 10.96.1.2:5432/tcp", Problem: inspection.Missing, Services: []string{"shop/db"}, Want: "goto cluster-1"},
			{Object: "frontend 10.96.9.9:80/tcp", Problem: inspection.Superfluous, Have: "goto refuse"},
			{Object: "table ip6 fairlead", Problem: inspection.Missing, Services: []string{"a/a", "a/b", "a/c", "a/d", "a/e"}},
		},
	}
}

func TestPrintRules(t *testing.T) {
	empty := inspection.Report{Version: inspection.Version, Node: "node-1", Mode: v1alpha1.ModeIPTables, Unsettled: "the mode changes to NFTables"}
	full := shop()
	for name, tc := range map[string]struct {
		report  *inspection.Report
		service string
	}{"rules.txt": {&full, ""}, "no-rules.txt": {&empty, "shop/web"}} {
		var out bytes.Buffer
		if err := PrintRules(&out, tc.report, tc.service); err != nil {
			t.Fatal(err)
		}
		kubectltest.Golden(t, name, out.Bytes())
	}
	kubectltest.GoldenYAML(t, "rules.yaml", &full)
	var out bytes.Buffer
	if err := PrintAs(&out, &full, "nft"); err != nil {
		t.Fatal(err)
	}
	kubectltest.Golden(t, "rules.nft", out.Bytes())
	for mode, want := range map[v1alpha1.ProxyMode]string{
		v1alpha1.ModeNFTables:  "node-2 runs the mode NFTables, which has no rules of iptables: use -o nft",
		v1alpha1.ModeIPVS:      "node-2 runs the mode IPVS, which has no rules of iptables: use -o ipvsadm",
		v1alpha1.ModeUserspace: "node-2 runs the mode Userspace, which has no rules of iptables",
	} {
		full.Mode = mode
		if err := PrintAs(io.Discard, &full, "iptables"); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %q", mode, err, want)
		}
	}
}

// node-1 is equal, node-2 differs, node-3 has no agent, node-4 has an old one, node-5 no mode, and
// the agent of node-6 says why it cannot.
func cluster(t *testing.T) (client.Client, *Agents, *[]string) {
	t.Helper()
	var objects []client.Object
	for i := range 6 {
		set := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("node-", i+1)}, Status: v1alpha1.NodeRuleSetStatus{Mode: v1alpha1.ModeNFTables}}
		if i == 4 {
			set.Status.Mode = ""
		}
		objects = append(objects, set)
	}
	pod := func(name, node string, phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: name, Labels: map[string]string{"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "agent"}},
			Spec:       corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase},
		}
	}
	leaving := pod("agent-0", "node-1", corev1.PodRunning)
	leaving.DeletionTimestamp, leaving.Finalizers = &metav1.Time{Time: metav1.Now().Time}, []string{"example.com/x"}
	objects = append(objects, leaving, pod("agent-1", "node-1", corev1.PodRunning), pod("agent-2", "node-2", corev1.PodRunning),
		pod("agent-3", "node-3", corev1.PodPending), pod("agent-4", "node-4", corev1.PodRunning), pod("agent-6", "node-6", corev1.PodRunning))
	api := fake.NewClientBuilder().WithScheme(kubectltest.Scheme(t)).WithObjects(objects...).Build()
	var commands []string
	exec := func(_ context.Context, pod *corev1.Pod, container string, command []string, s Streams) error {
		report := shop()
		switch pod.Name {
		case "agent-0", "agent-1":
			commands = append(commands, pod.Name+" "+container+" "+strings.Join(command, " "))
			report.Node, report.Differences, report.Unsettled = "node-1", nil, "the mode changes to IPVS"
		case "agent-4":
			fmt.Fprintln(s.Err, `fairlead-agent: unexpected argument "inspect"`)
			return errors.New("command terminated with exit code 1")
		case "agent-6":
			fmt.Fprintln(s.Err, `fairlead-agent: ask the running agent: connection refused`)
			return errors.New("command terminated with exit code 1")
		}
		report.Frontends = nil
		return json.NewEncoder(s.Out).Encode(&report)
	}
	agents, err := FindAgents(t.Context(), api, "fairlead-system", exec)
	if err != nil {
		t.Fatal(err)
	}
	return api, agents, &commands
}

func TestDrift(t *testing.T) {
	api, agents, commands := cluster(t)
	report, err := FindDrift(t.Context(), api, agents, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := report.Print(&out); err != nil {
		t.Fatal(err)
	}
	kubectltest.Golden(t, "drift.txt", out.Bytes())
	kubectltest.GoldenYAML(t, "drift.yaml", &report)
	if diff := cmp.Diff([]string{"agent-1 agent /fairlead-agent inspect --only-differences"}, *commands); diff != "" {
		t.Errorf("commands on node-1 (-want +got):\n%s", diff)
	}
	one, err := FindDrift(t.Context(), api, agents, []string{"node-1"})
	if err != nil || len(one.Nodes) != 1 || one.Has(Differs) || !one.Has(Equal) || !report.Has(Differs) || !report.Has(Unknown) {
		t.Errorf("only node-1: %+v, error %v", one, err)
	}
	if _, err := FindDrift(t.Context(), api, agents, []string{"node-7"}); err == nil || err.Error() != "no ProxyConfig selects a node node-7" {
		t.Errorf("an unknown node: error %v", err)
	}
	out.Reset()
	if err := (&Drift{}).Print(&out); err != nil || out.String() != "No ProxyConfig selects a node.\n" {
		t.Errorf("no node: %q, error %v", out.String(), err)
	}
}

func TestInspect(t *testing.T) {
	_, agents, commands := cluster(t)
	if _, err := agents.Inspect(t.Context(), "node-1", inspection.Filter{Service: "shop/web"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"agent-1 agent /fairlead-agent inspect --service=shop/web"}, *commands); diff != "" {
		t.Error(diff)
	}
	for name, tc := range map[string]struct {
		out  string
		err  error
		want string
	}{
		"no right":        {"", errors.New("pods/exec is forbidden"), "run inspect in Pod fairlead-system/agent-1: pods/exec is forbidden"},
		"no JSON":         {"hello", nil, "read what Pod fairlead-system/agent-1 has printed"},
		"a later release": {`{"version": "v2"}`, nil, `the agent's release answers in version "v2", and this plugin reads v1`},
	} {
		agents.exec = func(_ context.Context, _ *corev1.Pod, _ string, _ []string, s Streams) error {
			_, _ = io.WriteString(s.Out, tc.out)
			return tc.err
		}
		if _, err := agents.Inspect(t.Context(), "node-1", inspection.Filter{}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
	}
}

func TestFindNoAgents(t *testing.T) {
	api := fake.NewClientBuilder().WithScheme(kubectltest.Scheme(t)).Build()
	if _, err := FindAgents(t.Context(), api, "elsewhere", nil); err == nil || err.Error() != "namespace elsewhere has no Pods of agents" {
		t.Errorf("error %v", err)
	}
}

// TestObserve checks what is run on a node, and that it ends with the user: the command's standard input does.
func TestObserve(t *testing.T) {
	_, agents, _ := cluster(t)
	ctx, stop := context.WithCancel(t.Context())
	var command string
	agents.exec = func(_ context.Context, pod *corev1.Pod, container string, args []string, s Streams) error {
		command = pod.Name + " " + container + " " + strings.Join(args, " ")
		stop()
		_, err := io.Copy(s.Out, s.In) // until it ends
		return err
	}
	o := Observed{Filter: inspection.Filter{Service: "shop/web", Port: "http"}, Clients: []string{"10.244.2.9", "fd00::9"}}
	if err := agents.Observe(ctx, "node-1", o, io.Discard); err != nil {
		t.Error(err)
	}
	if want := "agent-1 agent /fairlead-agent observe --service=shop/web --port=http --clients=10.244.2.9,fd00::9"; command != want {
		t.Errorf("command %q, want %q", command, want)
	}
	agents.exec = func(_ context.Context, _ *corev1.Pod, _ string, args []string, s Streams) error {
		command = strings.Join(args, " ")
		fmt.Fprintln(s.Err, `fairlead-agent: unexpected argument "observe"`)
		return errors.New("command terminated with exit code 1")
	}
	if err := agents.Observe(t.Context(), "node-1", Observed{OwnClients: true}, io.Discard); err == nil || err.Error() != "the agent is of a release that cannot observe connections" ||
		command != "/fairlead-agent observe --own-clients" {
		t.Errorf("%s: error %v", command, err)
	}
	agents.exec = func(context.Context, *corev1.Pod, string, []string, Streams) error { return nil }
	if err := agents.Observe(t.Context(), "node-1", Observed{}, io.Discard); err == nil || err.Error() != "the agent's Pod has ended the observation" {
		t.Errorf("an early end: error %v", err)
	}
	agents.exec = func(_ context.Context, _ *corev1.Pod, _ string, _ []string, s Streams) error {
		for range 2 { // client-go goes on after an error, and so does the command, until its input ends
			_, _ = s.Out.Write([]byte("x"))
		}
		_, err := io.Copy(io.Discard, s.In)
		return err
	}
	read, closed := io.Pipe()
	_ = read.CloseWithError(errors.New("the reader has gone")) // it returns no error
	if err := agents.Observe(t.Context(), "node-1", Observed{}, closed); err == nil || err.Error() != "the reader has gone" {
		t.Errorf("the output ends: error %v", err)
	}
	if diff := cmp.Diff([]string{"node-1", "node-2", "node-4", "node-6"}, agents.Nodes()); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}
