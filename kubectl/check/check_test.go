// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/kubectltest"
	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
	"github.com/fairlead-proxy/fairlead/kubectl/status"
)

var now = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

// well are the facts of an installation without a fault.
func well() Facts {
	f := Facts{Served: resources, Read: true, Namespace: "fairlead-system", Controllers: []appsv1.Deployment{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: "fairlead-controller-manager"},
		Status:     appsv1.DeploymentStatus{AvailableReplicas: 1},
	}}}
	f.Reported = status.Input{Now: now, Configs: []v1alpha1.ProxyConfig{{
		ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.ProxyConfigSpec{Mode: v1alpha1.ModeIPVS},
		Status: v1alpha1.ProxyConfigStatus{Conditions: []metav1.Condition{
			condition("Accepted", "True", "Accepted", ""), condition("Protected", "True", "AdmissionPoliciesEnforced", ""),
		}},
	}}}
	f.Kernels = &Kernels{Conntrack: map[string]Conntrack{"node-1": {Entries: 90, Limit: 100}}, Drift: kernel.Drift{Nodes: []kernel.NodeDrift{{Name: "node-1", State: kernel.Equal}}}}
	for i, name := range []string{"node-1", "node-2"} {
		octet := string(rune('1' + i))
		f.Agents = append(f.Agents, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: "fairlead-agent-" + octet}, Spec: corev1.PodSpec{NodeName: name},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: "True"}}},
		})
		f.Reported.Heartbeats = append(f.Reported.Heartbeats, v1alpha1.NodeHeartbeat{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: v1alpha1.NodeHeartbeatSpec{RenewTime: metav1.NewTime(now.Add(-10 * time.Second))}})
		f.Reported.Nodes = append(f.Reported.Nodes, v1alpha1.NodeRuleSet{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: v1alpha1.NodeRuleSetSpec{Policy: v1alpha1.PolicyReference{Name: "default"},
				Node:         v1alpha1.NodeFacts{Addresses: []string{"192.0.2." + octet}, PodCIDRs: []string{"10.244." + octet + ".0/24"}},
				LocalTraffic: v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectNodeCIDR},
				NodePort:     v1alpha1.NodePortOptions{Addresses: []string{v1alpha1.NodePortPrimary}},
			},
			Status: v1alpha1.NodeRuleSetStatus{KubeProxy: &v1alpha1.KubeProxyStatus{},
				Capabilities: []v1alpha1.ModeCapability{{Mode: v1alpha1.ModeIPVS, Supported: true}},
				Conditions:   []metav1.Condition{condition("Programmed", "True", "Programmed", ""), condition("Degraded", "False", "Healthy", "")}},
		})
	}
	return f
}

// TestFaults compares what is said of each fault with a file, and checks that it is the only one
// that is found.
func TestFaults(t *testing.T) {
	node := func(change func(*v1alpha1.NodeRuleSet)) func(*Facts) {
		return func(f *Facts) { change(&f.Reported.Nodes[1]) }
	}
	config := func(change func(*v1alpha1.ProxyConfig)) func(*Facts) {
		return func(f *Facts) { change(&f.Reported.Configs[0]) }
	}
	faults := map[string]func(*Facts){
		"not-served": func(f *Facts) { f.Served, f.Read = []string{"proxyconfigs", "noderulesets"}, false },
		"denied": func(f *Facts) {
			f.Denied, f.Read = []Right{{"list", "proxy.fairlead.dev", "noderulesets", ""}, {"list", "", "pods", "fairlead-system"}}, false
		},
		"no-controller":   func(f *Facts) { f.Controllers = nil },
		"controller-down": func(f *Facts) { f.Controllers[0].Status.AvailableReplicas = 0 },
		"no-agent": func(f *Facts) {
			f.Agents, f.Reported.Heartbeats = f.Agents[:1], f.Reported.Heartbeats[:1]
		},
		"agent-crashes": func(f *Facts) {
			f.Agents[1].Status.Conditions = nil
			f.Agents[1].Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
		},
		"silent": func(f *Facts) {
			f.Reported.Heartbeats[1].Spec.RenewTime = metav1.NewTime(now.Add(-5 * time.Minute))
		},
		"not-programmed": node(func(n *v1alpha1.NodeRuleSet) {
			n.Status.Conditions[0] = condition("Programmed", "False", "KernelError", "create the table: operation not permitted")
		}),
		"degraded": node(func(n *v1alpha1.NodeRuleSet) {
			n.Status.Conditions[1] = condition("Degraded", "True", "CheckpointFailed", "/var/lib/fairlead: no space left on device")
		}),
		"kube-proxy-runs": node(func(n *v1alpha1.NodeRuleSet) {
			n.Status.KubeProxy = &v1alpha1.KubeProxyStatus{Running: true, Mode: v1alpha1.KubeProxyIPTables, Leftovers: []string{"x"}}
		}),
		"kube-proxy-leftovers": node(func(n *v1alpha1.NodeRuleSet) {
			n.Status.KubeProxy = &v1alpha1.KubeProxyStatus{Leftovers: []string{"table ip kube-proxy", "table ip6 kube-proxy"}}
		}),
		"kube-proxy-unknown": node(func(n *v1alpha1.NodeRuleSet) {
			n.Status.KubeProxy = &v1alpha1.KubeProxyStatus{Message: "list tables: operation not permitted"}
		}),
		"no-policy": func(f *Facts) { f.Reported.Configs = nil },
		"not-accepted": config(func(c *v1alpha1.ProxyConfig) {
			c.Status.Conditions[0] = condition("Accepted", "False", "NoNodesSelected", "no node has the labels")
		}),
		"unsupported": node(func(n *v1alpha1.NodeRuleSet) {
			n.Status.Capabilities[0] = v1alpha1.ModeCapability{Mode: v1alpha1.ModeIPVS, Message: "the kernel has no ip_vs"}
		}),
		"unprotected": config(func(c *v1alpha1.ProxyConfig) {
			c.Status.Conditions[1] = condition("Protected", "False", "AdmissionPoliciesMissing", "fairlead-rules.fairlead.dev is missing")
		}),
		"not-reconciled": config(func(c *v1alpha1.ProxyConfig) { c.Status.Conditions = c.Status.Conditions[:1] }),
		"no-pod-cidr":    node(func(n *v1alpha1.NodeRuleSet) { n.Spec.Node.PodCIDRs = nil }),
		"cluster-cidr-misses": node(func(n *v1alpha1.NodeRuleSet) {
			n.Spec.LocalTraffic = v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectClusterCIDR, ClusterCIDRs: []string{"10.244.0.0/23", "10.244.2.0/25"}}
		}),
		"no-node-address": node(func(n *v1alpha1.NodeRuleSet) { n.Spec.Node.Addresses = nil }),
		"node-port-elsewhere": node(func(n *v1alpha1.NodeRuleSet) {
			n.Spec.NodePort.Addresses = []string{"198.51.100.0/24"}
		}),
	}
	for name, fault := range moreFaults() {
		faults[name] = fault
	}
	more := map[string]int{"no-agent": 2} // its heartbeat is missing, too
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			f := well()
			before := Of(f)
			if !before.Pass() {
				t.Error("without the fault it does not pass")
			}
			f = well()
			fault(&f)
			report := Of(f)
			failed := 0
			for _, category := range report.Categories {
				for _, c := range category.Checks {
					if !c.Pass {
						failed++
					}
				}
			}
			if want := max(1, more[name]); failed != want || report.Pass() {
				t.Errorf("%d checks fail, want %d; Pass is %v", failed, want, report.Pass())
			}
			compare(t, name, report)
		})
	}
}

func compare(t *testing.T, name string, report Report) {
	t.Helper()
	var text bytes.Buffer
	if err := report.Print(&text); err != nil {
		t.Fatal(err)
	}
	kubectltest.Golden(t, name+".txt", text.Bytes())
	kubectltest.GoldenYAML(t, name+".yaml", report)
}

// TestWell checks what is no fault.
func TestWell(t *testing.T) {
	cases := map[string]func(*Facts){
		"well":                   func(*Facts) {},
		"an agent without a Pod": func(f *Facts) { f.Agents = f.Agents[:1] },
		"a Pod that ends beside a ready one": func(f *Facts) {
			ended := f.Agents[0].DeepCopy()
			ended.Status.Conditions = nil
			f.Agents = append(f.Agents, *ended)
		},
		"a fallback": func(f *Facts) {
			f.Reported.Configs[0].Spec.FallbackModes = []v1alpha1.ProxyMode{v1alpha1.ModeNFTables}
			f.Reported.Nodes[1].Status.Capabilities = []v1alpha1.ModeCapability{{Mode: v1alpha1.ModeIPVS}, {Mode: v1alpha1.ModeNFTables, Supported: true}}
		},
		"giving back": func(f *Facts) {
			f.Reported.Nodes[1].Spec.KubeProxy = v1alpha1.KubeProxyGiveBack
			f.Reported.Nodes[1].Status.KubeProxy.Running = true
		},
		"a ClusterCIDR that fits": func(f *Facts) {
			f.Reported.Nodes[1].Spec.LocalTraffic = v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectClusterCIDR, ClusterCIDRs: []string{"fd00::/64", "10.244.0.0/16"}}
		},
		"a bridge": func(f *Facts) {
			f.Reported.Nodes[1].Spec.Node.PodCIDRs = nil
			f.Reported.Nodes[1].Spec.LocalTraffic = v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectBridgeInterface, Interface: "cni0"}
		},
		"node ports at a CIDR":             func(f *Facts) { f.Reported.Nodes[1].Spec.NodePort.Addresses = []string{"192.0.2.0/24"} },
		"a heartbeat that is stored right": func(f *Facts) { stored(f, 10*time.Second) },
		"a mode that cannot be inspected": func(f *Facts) {
			f.Kernels.Drift.Nodes = []kernel.NodeDrift{{Name: "node-1", State: kernel.Unknown, Message: "the kernel cannot be inspected in the mode IPVS"}}
		},
		"a rollout that proceeds":    rollout(v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutSoaking, Stage: "canary"}),
		"a rollout that has aborted": rollout(v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutRolledBack, Verdict: v1alpha1.VerdictAborted}),
		"node ports at all":          func(f *Facts) { f.Reported.Nodes[1].Spec.NodePort.Addresses = []string{v1alpha1.NodePortAll} },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			f := well()
			change(&f)
			report := Of(f)
			if !report.Pass() {
				t.Error("it does not pass")
			}
			compare(t, "well", report)
		})
	}
}

// TestDocs checks that every anchor is a heading.
func TestDocs(t *testing.T) {
	for _, category := range categories {
		for _, check := range category.checks {
			file, anchor, _ := strings.Cut(check.docs, "#")
			text, err := os.ReadFile(filepath.Join("..", "..", file))
			if err != nil {
				t.Fatal(err)
			}
			found := anchor == ""
			for _, line := range strings.Split(string(text), "\n") {
				if heading := strings.TrimLeft(line, "#"); heading != line {
					slug := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), "")
					found = found || strings.ReplaceAll(slug, " ", "-") == anchor
				}
			}
			if !found || check.fix == "" {
				t.Errorf("%s: there is no heading %s, or no fix", check.name, check.docs)
			}
		}
	}
}
