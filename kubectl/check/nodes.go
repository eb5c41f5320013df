// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/podstatus"
	"github.com/fairlead-proxy/fairlead/kubectl/status"
)

// noAgent accepts an agent that is run without a Pod and renews its heartbeat.
func noAgent(f *Facts) []string {
	pods := podsOf(f)
	var out []string
	for _, n := range f.report.Nodes {
		switch pod := pods[n.Name]; {
		case pod == nil && (n.SeenSeconds == nil || n.State == status.NotReporting):
			out = append(out, n.Name+": no Pod of the agent is on the node")
		case pod != nil && !podstatus.IsReady(pod) && !isPulling(pod):
			out = append(out, fmt.Sprintf("%s: Pod %s/%s is not ready (%s)", n.Name, pod.Namespace, pod.Name, podstatus.Waiting(pod)))
		}
	}
	return out
}

// podsOf returns the agent's Pod of each node: a ready one, if there is one.
func podsOf(f *Facts) map[string]*corev1.Pod {
	pods := map[string]*corev1.Pod{}
	for i := range f.Agents {
		if pod := &f.Agents[i]; pods[pod.Spec.NodeName] == nil || podstatus.IsReady(pod) {
			pods[pod.Spec.NodeName] = pod
		}
	}
	return pods
}

func notPulled(f *Facts) []string {
	var out []string
	for node, pod := range podsOf(f) {
		if !podstatus.IsReady(pod) && isPulling(pod) {
			out = append(out, fmt.Sprintf("%s: Pod %s/%s: %s: %s", node, pod.Namespace, pod.Name, podstatus.Waiting(pod), pod.Spec.Containers[0].Image))
		}
	}
	return out
}

// isPulling says whether the image of a Pod cannot be pulled.
func isPulling(pod *corev1.Pod) bool {
	return slices.Contains([]string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}, podstatus.Waiting(pod))
}

func silent(f *Facts) []string {
	var out []string
	for _, n := range f.report.Nodes {
		switch {
		case n.SeenSeconds == nil:
			out = append(out, n.Name+": there is no NodeHeartbeat")
		case n.State == status.NotReporting && f.skew[n.Name] == 0:
			out = append(out, fmt.Sprintf("%s: the last one is %d s old; the kernel has the rules it had", n.Name, *n.SeenSeconds))
		}
	}
	return out
}

// maxSkew is how far a node's clock may be off: an old heartbeat is one of a minute.
const maxSkew = 20 * time.Second

// skewOf compares the time that agents write with the one at which the apiserver has stored it.
func skewOf(beats []v1alpha1.NodeHeartbeat) map[string]time.Duration {
	out := map[string]time.Duration{}
	for i := range beats {
		var stored time.Time
		for _, m := range beats[i].ManagedFields {
			if m.Time != nil && m.Time.After(stored) {
				stored = m.Time.Time
			}
		}
		if skew := beats[i].Spec.RenewTime.Sub(stored); !stored.IsZero() && skew.Abs() > maxSkew {
			out[beats[i].Name] = skew
		}
	}
	return out
}

func clocks(f *Facts) []string {
	var out []string
	for node, skew := range f.skew {
		word := "ahead of"
		if skew < 0 {
			word = "behind"
		}
		out = append(out, fmt.Sprintf("%s: its clock is %s %s the apiserver's", node, skew.Abs().Round(time.Second), word))
	}
	return out
}

// named are the states that have a check of their own.
var named = []string{v1alpha1.ReasonListenFailed, v1alpha1.ReasonConntrackSysctl, v1alpha1.ReasonConntrackFailed, v1alpha1.ReasonPartlyProgrammed}

// inState finds nodes in one of some states.
func inState(states ...string) func(*Facts) []string {
	return func(f *Facts) []string {
		var out []string
		for _, n := range f.report.Nodes {
			if slices.Contains(states, n.State) {
				out = append(out, fmt.Sprintf("%s: %s", n.Name, n.Message))
			}
		}
		return out
	}
}

// notWell leaves out nodes that do not report: what they reported before no longer counts.
func notWell(f *Facts) []string {
	var out []string
	for _, n := range f.report.Nodes {
		if !n.Well && n.State != status.NotReporting && !slices.Contains(named, n.State) {
			out = append(out, strings.TrimSuffix(fmt.Sprintf("%s: %s: %s", n.Name, n.State, n.Message), ": "))
		}
	}
	return out
}

// beside leaves out nodes that are to give back to kube-proxy.
func beside(f *Facts) []string {
	var out []string
	for i := range f.Reported.Nodes {
		n := &f.Reported.Nodes[i]
		found := n.Status.KubeProxy
		switch {
		case n.Spec.KubeProxy == v1alpha1.KubeProxyGiveBack || found == nil:
		case found.Running:
			out = append(out, strings.TrimSuffix(fmt.Sprintf("%s: kube-proxy runs, mode %s", n.Name, found.Mode), ", mode "))
		case len(found.Leftovers) > 0:
			out = append(out, fmt.Sprintf("%s: rules of kube-proxy are left: %s", n.Name, strings.Join(found.Leftovers, ", ")))
		case found.Message != "":
			out = append(out, n.Name+": "+found.Message)
		}
	}
	return out
}
