// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
)

// stored has the apiserver store node-2's heartbeat later than its clock says, or earlier.
func stored(f *Facts, later time.Duration) {
	beat := &f.Reported.Heartbeats[1]
	at := metav1.NewTime(beat.Spec.RenewTime.Add(later))
	beat.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "fairlead-agent", Time: &at}, {Manager: "another"}}
}

// rollout gives the ProxyConfig one.
func rollout(s v1alpha1.ProxyRolloutStatus) func(*Facts) {
	return func(f *Facts) {
		f.Reported.Rollouts = []v1alpha1.ProxyRollout{{ObjectMeta: metav1.ObjectMeta{Name: "default-1"}, Status: s}}
		f.Reported.Configs[0].Status.Rollout = &v1alpha1.RolloutSummary{Name: "default-1", Phase: s.Phase}
	}
}

// moreFaults are those of agents, rollouts and kernels.
func moreFaults() map[string]func(*Facts) {
	degraded := func(reason, message string) func(*Facts) {
		return func(f *Facts) {
			f.Reported.Nodes[1].Status.Conditions[1] = condition("Degraded", "True", reason, message)
		}
	}
	return map[string]func(*Facts){
		"image-not-pulled": func(f *Facts) {
			f.Agents[1].Status.Conditions = nil
			f.Agents[1].Spec.Containers = []corev1.Container{{Name: "agent", Image: "registry.example/agent:v1"}}
			f.Agents[1].Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
		},
		"clock-behind": func(f *Facts) {
			f.Reported.Heartbeats[1].Spec.RenewTime = metav1.NewTime(now.Add(-5 * time.Minute))
			stored(f, 5*time.Minute-8*time.Second)
		},
		"clock-ahead": func(f *Facts) {
			f.Reported.Heartbeats[1].Spec.RenewTime = metav1.NewTime(now.Add(time.Hour))
			stored(f, -time.Hour)
		},
		"port-in-use":      degraded("ListenFailed", "port 10256: address already in use"),
		"conntrack-sysctl": degraded("ConntrackSysctl", "nf_conntrack_max: permission denied"),
		"conntrack-failed": degraded("ConntrackFailed", "delete entries: operation not supported"),
		"limitation":       degraded("PartlyProgrammed", "ReservedPort: port 22 of Service shop/ssh is of the node's processes"),
		"takeover-rights": func(f *Facts) {
			c := &f.Reported.Configs[0].Status
			c.Conditions = append(c.Conditions, condition("KubeProxyReplaced", "False", "MissingPermission", "the controller may not patch the DaemonSet"))
		},
		"rollout-failed": rollout(v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutRolledBack, Verdict: v1alpha1.VerdictFailed,
			FailedNodes: []v1alpha1.FailingNode{{Name: "node-2", Reason: "KernelError", Message: "create the table: operation not permitted"}}}),
		"rollout-blocked": rollout(v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutBlocked,
			Conditions: []metav1.Condition{condition("Prechecked", "False", "ModeUnsupported", "No mode of the policy fits node-2")}}),
		"rollout-paused": rollout(v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutPaused, Stage: "canary"}),
		"rollout-soaking": func(f *Facts) { // and paused
			rollout(v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutSoaking, Stage: "canary"})(f)
			f.Reported.Rollouts[0].Spec.State = v1alpha1.StatePause
		},
		"rollout-approval": rollout(v1alpha1.ProxyRolloutStatus{Phase: v1alpha1.RolloutAwaitingApproval, Stage: "rest"}),
		"table-flushed": func(f *Facts) {
			f.Kernels.Drift.Nodes = append(f.Kernels.Drift.Nodes, kernel.NodeDrift{Name: "node-2", State: kernel.Differs,
				Differences: []inspection.Difference{{Problem: inspection.Missing, Object: "table ip fairlead"}, {}}})
		},
		"conntrack-full":    func(f *Facts) { f.Kernels.Conntrack["node-2"] = Conntrack{Entries: 131072, Limit: 131072} },
		"kernels-forbidden": func(f *Facts) { f.Kernels.Conntrack["node-2"] = Conntrack{Err: errors.New("pods is forbidden")} },
	}
}

// TestParseConntrack reads metrics as an agent prints them.
func TestParseConntrack(t *testing.T) {
	got, err := ParseConntrack(strings.NewReader("# HELP x\nfairlead_agent_conntrack_limit 262144\nfairlead_agent_conntrack_entries 1.31072e+05\nother{a=\"b\"} 1\n"))
	if want := (Conntrack{Entries: 131072, Limit: 262144}); got != want || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := ParseConntrack(strings.NewReader("fairlead_agent_conntrack_limit x\n")); err == nil {
		t.Error("no error")
	}
}
