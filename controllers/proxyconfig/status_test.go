// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const generation = 3

// now is when the status is computed.
var now = time.Unix(1_000_000, 0)

// fixture is a cluster: the policy under test is "default", generation 3.
type fixture struct{ in input }

func newFixture(selector *v1alpha1.NodeSelector) *fixture {
	f := &fixture{input{sets: map[string]*v1alpha1.NodeRuleSet{}, renewed: map[string]time.Time{}, now: now, patience: time.Minute,
		protected: metav1.Condition{Type: v1alpha1.ConditionProtected, Status: metav1.ConditionFalse, Reason: "R", Message: "M"}}}
	f.config("default", 0, selector)
	return f
}

func (f *fixture) config(name string, priority int32, selector *v1alpha1.NodeSelector) *fixture {
	f.in.configs = append(f.in.configs, v1alpha1.ProxyConfig{
		ObjectMeta: metav1.ObjectMeta{Name: name, Generation: generation},
		Spec:       v1alpha1.ProxyConfigSpec{Priority: &priority, NodeSelector: selector},
	})
	return f
}

func (f *fixture) node(name string, ready bool) *fixture {
	status := corev1.ConditionUnknown
	if ready {
		status = corev1.ConditionTrue
	}
	f.in.nodes = append(f.in.nodes, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}},
	})
	return f
}

// set adds a NodeRuleSet of generation 7 whose agent reports the conditions:
// for example "Programmed=False/KernelError" about generation 7. observed is
// the generation that it has programmed; 0: it has programmed nothing.
func (f *fixture) set(name string, observed int64, conditions ...string) *fixture {
	policy := v1alpha1.PolicyReference{Name: "default", Generation: generation}
	set := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 7}}
	set.Spec.Policy = policy
	if observed > 0 {
		set.Status.ObservedGeneration, set.Status.Policy, set.Status.Programmed = observed, &policy, &v1alpha1.ProgrammedCounts{}
	}
	for _, text := range conditions {
		kind, rest, _ := strings.Cut(text, "=")
		status, reason, _ := strings.Cut(rest, "/")
		set.Status.Conditions = append(set.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status),
			Reason: reason, Message: "says " + name, ObservedGeneration: 7})
	}
	f.in.sets[name] = set
	f.in.renewed[name] = now
	return f
}

// silent says how long ago a node's agent has renewed its heartbeat.
func (f *fixture) silent(name string, ago time.Duration) *fixture {
	f.in.renewed[name] = now.Add(-ago)
	return f
}

// created says how long ago a NodeRuleSet was created.
func (f *fixture) created(name string, ago time.Duration) *fixture {
	f.in.sets[name].CreationTimestamp = metav1.NewTime(now.Add(-ago))
	return f
}

// readySince says how long ago a node became ready.
func (f *fixture) readySince(name string, ago time.Duration) *fixture {
	for _, n := range f.in.nodes {
		if n.Name == name {
			n.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-ago))
		}
	}
	return f
}

func (f *fixture) status() v1alpha1.ProxyConfigStatus {
	f.in.config = &f.in.configs[0]
	status, _ := computeStatus(f.in)
	return status
}

// Parts of the cases.
const good = "Programmed=True/Programmed"

var everywhere = &v1alpha1.NodeSelector{}

func only(name string) *v1alpha1.NodeSelector {
	return &v1alpha1.NodeSelector{MatchLabels: map[string]v1alpha1.LabelValue{"name": v1alpha1.LabelValue(name)}}
}

// statusCase is a state of the nodes, and the resulting status.
type statusCase struct {
	fixture *fixture
	nodes   v1alpha1.NodeCounts
	failing []string
	silent  []string // "name since", in seconds before now

	// conditions in the form "Type=Status/Reason", and a part of a message.
	want    []string
	message string
}

var statusCases = map[string]statusCase{
	"all programmed": {
		fixture: newFixture(everywhere).node("a", true).set("a", 7, good).node("b", true).set("b", 7, good),
		nodes:   v1alpha1.NodeCounts{Selected: 2, Programmed: 2},
		want:    []string{"Accepted=True/Accepted", "Available=True/AllNodesProgrammed", "Progressing=False/AllNodesProgrammed", "Degraded=False/Healthy"},
		message: "Generation 3 is programmed on 2 nodes",
	},
	"no node": {
		fixture: newFixture(only("x")).node("a", true),
		want:    []string{"Accepted=False/NoNodesSelected", "Available=Unknown/NoNodesSelected", "Progressing=False/NoNodesSelected", "Degraded=False/Healthy"},
		message: "spec.nodeSelector matches no node",
	},
	"selector invalid": {
		fixture: newFixture(&v1alpha1.NodeSelector{MatchExpressions: []v1alpha1.NodeSelectorRequirement{{Key: "a", Operator: "Near"}}}).node("a", true),
		want:    []string{"Accepted=False/Invalid", "Available=Unknown/NoNodesSelected"},
		message: `"Near" is not a valid label selector operator`,
	},
	"overridden on one": {
		fixture: newFixture(everywhere).config("gold", 5, only("b")).node("a", true).set("a", 7, good).node("b", true),
		nodes:   v1alpha1.NodeCounts{Selected: 1, Programmed: 1},
		want:    []string{"Accepted=True/Overridden", "Available=True/AllNodesProgrammed"},
		message: "In effect on 1 of 2 selected nodes; ProxyConfig gold has a higher priority or is older",
	},
	"overridden everywhere": {
		fixture: newFixture(everywhere).config("gold", 5, everywhere).node("a", true),
		want:    []string{"Accepted=False/Overridden", "Available=Unknown/NoNodesSelected"},
	},
	"no report yet": {
		fixture: newFixture(everywhere).node("a", true).set("a", 0).node("b", true),
		nodes:   v1alpha1.NodeCounts{Selected: 2},
		want:    []string{"Accepted=True/Accepted", "Available=Unknown/NodesPending", "Progressing=True/NodesPending", "Degraded=False/Healthy"},
		message: "Waiting for generation 3 on a, b",
	},
	"older generation in effect": {
		fixture: newFixture(everywhere).node("a", true).set("a", 6, good),
		nodes:   v1alpha1.NodeCounts{Selected: 1},
		want:    []string{"Available=True/AllNodesProgrammed", "Progressing=True/NodesPending", "Degraded=False/Healthy"},
	},
	"first programming runs": {
		fixture: newFixture(everywhere).node("a", true).set("a", 6, "Programmed=False/Programming"),
		nodes:   v1alpha1.NodeCounts{Selected: 1},
		want:    []string{"Progressing=True/NodesPending", "Degraded=False/Healthy"},
	},
	"kernel refuses, old rules forward": {
		fixture: newFixture(everywhere).node("a", true).set("a", 6, "Programmed=False/KernelError"),
		nodes:   v1alpha1.NodeCounts{Selected: 1, Failing: 1},
		failing: []string{"a KernelError says a"},
		want:    []string{"Available=True/AllNodesProgrammed", "Progressing=False/NodesFailing", "Degraded=True/NodesFailing"},
		message: "1 node failing; a: says a",
	},
	"mode unsupported, nothing forwards": {
		fixture: newFixture(everywhere).node("a", true).set("a", 0, "Accepted=False/ModeUnsupported", "Programmed=False/ModeUnsupported"),
		nodes:   v1alpha1.NodeCounts{Selected: 1, Failing: 1},
		failing: []string{"a ModeUnsupported says a"},
		want:    []string{"Available=False/NodesFailing", "Degraded=True/NodesFailing"},
		message: "No rules are programmed on a",
	},
	"failure of an older generation": {
		fixture: func() *fixture {
			f := newFixture(everywhere).node("a", true).set("a", 6, "Programmed=False/KernelError")
			f.in.sets["a"].Status.Conditions[0].ObservedGeneration = 6
			return f
		}(),
		nodes: v1alpha1.NodeCounts{Selected: 1},
		want:  []string{"Progressing=True/NodesPending", "Degraded=False/Healthy"},
	},
	"rules of another policy": {
		fixture: func() *fixture {
			f := newFixture(everywhere).node("a", true).set("a", 7, good)
			f.in.sets["a"].Spec.Policy.Name = "before"
			return f
		}(),
		nodes: v1alpha1.NodeCounts{Selected: 1},
		want:  []string{"Available=True/AllNodesProgrammed", "Progressing=True/NodesPending"},
	},
	"fallback mode": {
		fixture: newFixture(everywhere).node("a", true).set("a", 7, good, "Degraded=True/FallbackMode"),
		nodes:   v1alpha1.NodeCounts{Selected: 1, Programmed: 1},
		want:    []string{"Available=True/AllNodesProgrammed", "Progressing=False/AllNodesProgrammed", "Degraded=True/FallbackMode"},
	},
	"fallback mode on some": {
		fixture: newFixture(everywhere).node("a", true).set("a", 7, good).
			node("b", true).set("b", 7, good, "Degraded=True/FallbackMode").node("c", true).set("c", 7, good, "Degraded=True/FallbackMode"),
		nodes:   v1alpha1.NodeCounts{Selected: 3, Programmed: 3},
		want:    []string{"Degraded=True/FallbackMode"},
		message: "Running a fallback mode: b, c; b: says b",
	},
	"fallback mode is the least trouble": {
		fixture: newFixture(everywhere).node("a", true).set("a", 7, good, "Degraded=True/FallbackMode").
			node("b", true).set("b", 7, good, "Degraded=True/SkippedRules"),
		nodes:   v1alpha1.NodeCounts{Selected: 2, Programmed: 2},
		want:    []string{"Degraded=True/SkippedRules"},
		message: "1 node degraded; b: says b",
	},
	"an agent does not report": {
		fixture: newFixture(everywhere).node("a", true).set("a", 7, good).node("b", true).set("b", 7, good, "Degraded=True/SkippedRules").silent("b", time.Minute),
		nodes:   v1alpha1.NodeCounts{Selected: 2, Programmed: 1, NotReady: 1},
		silent:  []string{"b 60"},
		want:    []string{"Available=True/AllNodesProgrammed", "Progressing=False/AgentsNotReady Generation 3 is programmed on 1 node; no report from 1 node\n", "Degraded=True/AgentsNotReady"},
		message: "The agent does not report on 1 node: b since 1970-01-12T13:45:40Z",
	},
	"an agent has not reported for a moment": {
		fixture: newFixture(everywhere).node("a", true).set("a", 7, good).silent("a", 59*time.Second),
		nodes:   v1alpha1.NodeCounts{Selected: 1, Programmed: 1},
		want:    []string{"Degraded=False/Healthy"},
	},
	"an agent has never started": {
		fixture: newFixture(everywhere).node("a", true).set("a", 0).silent("a", time.Hour).created("a", 90*time.Second),
		nodes:   v1alpha1.NodeCounts{Selected: 1, NotReady: 1},
		silent:  []string{"a 90"},
		want:    []string{"Available=False/NodesFailing", "Progressing=False/AgentsNotReady", "Degraded=True/AgentsNotReady"},
		message: "No rules are programmed on a",
	},
	"a new node": {
		fixture: newFixture(everywhere).node("a", true).set("a", 0).silent("a", time.Hour).created("a", 30*time.Second),
		nodes:   v1alpha1.NodeCounts{Selected: 1},
		want:    []string{"Available=Unknown/NodesPending", "Progressing=True/NodesPending", "Degraded=False/Healthy"},
	},
	"a node that has come back": {
		fixture: newFixture(everywhere).node("a", true).set("a", 7, good).silent("a", time.Hour).created("a", 2*time.Hour).readySince("a", 30*time.Second),
		nodes:   v1alpha1.NodeCounts{Selected: 1, Programmed: 1},
		want:    []string{"Available=True/AllNodesProgrammed", "Degraded=False/Healthy"},
	},
	"the agent of a node that is not ready": {
		fixture: newFixture(everywhere).node("a", false).set("a", 7, good).silent("a", time.Hour),
		nodes:   v1alpha1.NodeCounts{Selected: 1, Programmed: 1},
		want:    []string{"Degraded=False/Healthy"},
	},
	"no report after a failure": {
		fixture: newFixture(everywhere).node("a", true).set("a", 6, "Programmed=False/KernelError").silent("a", time.Hour).
			node("b", true).set("b", 6, "Programmed=False/KernelError"),
		nodes:   v1alpha1.NodeCounts{Selected: 2, Failing: 1, NotReady: 1},
		failing: []string{"b KernelError says b"},
		silent:  []string{"a 3600"},
		want:    []string{"Progressing=False/NodesFailing", "Degraded=True/NodesFailing"},
		message: "1 node failing; b: says b; The agent does not report on 1 node: a since ",
	},
	"node not ready": {
		fixture: newFixture(everywhere).node("a", true).set("a", 7, good).node("b", false).set("b", 6, "Programmed=False/KernelError").node("c", false),
		nodes:   v1alpha1.NodeCounts{Selected: 3, Programmed: 1},
		want:    []string{"Available=True/AllNodesProgrammed", "Progressing=False/AllNodesProgrammed", "Degraded=False/Healthy"},
		message: "Generation 3 is programmed on 1 node; 2 nodes not ready",
	},
}

func TestStatus(t *testing.T) {
	for name, tc := range statusCases {
		t.Run(name, func(t *testing.T) {
			got := tc.fixture.status()
			if diff := cmp.Diff(&tc.nodes, got.Nodes); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
			var failing []string
			for _, f := range got.FailingNodes {
				failing = append(failing, f.Name+" "+f.Reason+" "+f.Message)
			}
			if diff := cmp.Diff(tc.failing, failing); diff != "" {
				t.Errorf("failing nodes (-want +got):\n%s", diff)
			}
			var silent []string
			for _, n := range got.NotReadyNodes {
				silent = append(silent, fmt.Sprintf("%s %v", n.Name, now.Sub(n.Since.Time).Seconds()))
			}
			if diff := cmp.Diff(tc.silent, silent); diff != "" {
				t.Errorf("nodes that are not ready (-want +got):\n%s", diff)
			}
			all := ""
			for _, c := range got.Conditions {
				all += fmt.Sprintf("%s=%s/%s %s\n", c.Type, c.Status, c.Reason, c.Message)
				if c.ObservedGeneration != generation || c.LastTransitionTime.IsZero() {
					t.Errorf("condition %v has no generation or time", c)
				}
			}
			for _, want := range append(tc.want, tc.message, "Protected=False/R M\n") {
				if !strings.Contains(all, want) {
					t.Errorf("no %q in\n%s", want, all)
				}
			}
			if len(got.Conditions) != 5 || got.ObservedGeneration != generation {
				t.Errorf("got %d conditions of generation %d", len(got.Conditions), got.ObservedGeneration)
			}
		})
	}
}

// TestStatusIsStable checks that an unchanged status is not written, and that an
// unchanged condition keeps its lastTransitionTime.
func TestStatusIsStable(t *testing.T) {
	f := newFixture(nil).node("b", true).node("a", true).set("b", 7, "Programmed=True/Programmed")
	f.in.configs[0].Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.ConditionAvailable, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonPending, LastTransitionTime: metav1.Unix(0, 0)}}
	first := f.status()
	for _, c := range first.Conditions {
		if c.LastTransitionTime.Unix() == 0 {
			t.Errorf("%s: the time of the API's default", c.Type)
		}
	}
	since := metav1.NewTime(time.Now().Add(-time.Hour).Truncate(time.Second))
	for i := range first.Conditions {
		first.Conditions[i].LastTransitionTime = since
	}
	f.in.configs[0].Status = first
	if second := f.status(); !apiequality.Semantic.DeepEqual(first, second) {
		t.Error(cmp.Diff(first, second))
	}
	f.set("a", 7, "Programmed=True/Programmed")
	third := f.status()
	if c := apimeta.FindStatusCondition(third.Conditions, v1alpha1.ConditionAccepted); !c.LastTransitionTime.Equal(&since) {
		t.Error("Accepted did not change, and its time did")
	}
	if c := apimeta.FindStatusCondition(third.Conditions, v1alpha1.ConditionAvailable); c.LastTransitionTime.Equal(&since) {
		t.Error("Available changed, and its time did not")
	}
}

// TestManyFailingNodes checks the limits of the API.
func TestManyFailingNodes(t *testing.T) {
	f := newFixture(nil)
	for i := range 30 {
		name := fmt.Sprintf("node-%02d", 29-i)
		f.node(name, true).set(name, 0, "Programmed=False/KernelError")
		f.in.sets[name].Status.Conditions[0].Message = strings.Repeat("ä", 1000)
	}
	got := f.status()
	if got.Nodes.Failing != 30 || len(got.FailingNodes) != 10 || got.FailingNodes[0].Name != "node-00" || got.FailingNodes[9].Name != "node-09" {
		t.Errorf("failing: %d, named: %v", got.Nodes.Failing, got.FailingNodes)
	}
	messages := []string{got.FailingNodes[0].Message}
	for _, c := range got.Conditions {
		messages = append(messages, c.Message)
	}
	for _, m := range messages {
		if n := utf8.RuneCountInString(m); n > 256 || !utf8.ValidString(m) {
			t.Errorf("message of %d characters: %s", n, m)
		}
	}
	if c := apimeta.FindStatusCondition(got.Conditions, v1alpha1.ConditionAvailable); c.Message != "No rules are programmed on node-00, node-01, node-02 and 27 more" {
		t.Errorf("got %q", c.Message)
	}
}

// TestManySilentNodes checks the limits of the API.
func TestManySilentNodes(t *testing.T) {
	f := newFixture(nil)
	for i := range 30 {
		name := fmt.Sprintf("node-%02d", 29-i)
		f.node(name, true).set(name, 7, good).silent(name, time.Hour)
	}
	got := f.status()
	if got.Nodes.NotReady != 30 || len(got.NotReadyNodes) != 10 || got.NotReadyNodes[0].Name != "node-00" || got.NotReadyNodes[9].Name != "node-09" {
		t.Errorf("not ready: %d, named: %v", got.Nodes.NotReady, got.NotReadyNodes)
	}
	const since = " since 1970-01-12T12:46:40Z"
	want := "The agent does not report on 30 nodes: node-00" + since + ", node-01" + since + ", node-02" + since + " and 27 more"
	if c := apimeta.FindStatusCondition(got.Conditions, v1alpha1.ConditionDegraded); c.Message != want {
		t.Errorf("got %q, want %q", c.Message, want)
	}
}
