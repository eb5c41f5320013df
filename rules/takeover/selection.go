// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"fmt"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	scheduling "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// AwaitsKubeProxy says that something has to start kube-proxy on a node so that it can give back: it has taken over,
// or is to give back and has not, and its agent does not find kube-proxy.
func AwaitsKubeProxy(set *v1alpha1.NodeRuleSet) bool {
	return set.Spec.KubeProxy != "" && !HasGivenBack(set) && (set.Status.KubeProxy == nil || !set.Status.KubeProxy.Running)
}

// Skips says why a DaemonSet would have no Pod on a node without the label, and what to change; empty: it would.
func Skips(ds *appsv1.DaemonSet, node *corev1.Node) string {
	spec := &ds.Spec.Template.Spec
	without := node.DeepCopy()
	delete(without.Labels, v1alpha1.LabelKubeProxy)
	// An invalid term selects nothing.
	selects, _ := nodeaffinity.NewRequiredNodeAffinity(spec.NodeSelector, spec.Affinity).Match(without)
	if !selects || spec.NodeName != "" && spec.NodeName != node.Name {
		return "does not select it: change nodeSelector or affinity of its template, or the labels of the node"
	}
	evicts := func(taint *corev1.Taint) bool { return taint.Effect != corev1.TaintEffectPreferNoSchedule }
	taint, refused := scheduling.FindMatchingUntoleratedTaint(logr.Discard(), node.Spec.Taints, tolerations(spec), evicts, true)
	if refused {
		return fmt.Sprintf("does not tolerate its taint %s: add a toleration to its template, or remove the taint", taint.ToString())
	}
	return ""
}

// tolerations are those of a DaemonSet's Pods: the DaemonSet controller adds some.
func tolerations(spec *corev1.PodSpec) []corev1.Toleration {
	out := append([]corev1.Toleration(nil), spec.Tolerations...)
	for key, effect := range map[string]corev1.TaintEffect{
		corev1.TaintNodeNotReady: corev1.TaintEffectNoExecute, corev1.TaintNodeUnreachable: corev1.TaintEffectNoExecute,
		corev1.TaintNodeDiskPressure: corev1.TaintEffectNoSchedule, corev1.TaintNodeMemoryPressure: corev1.TaintEffectNoSchedule,
		corev1.TaintNodePIDPressure: corev1.TaintEffectNoSchedule, corev1.TaintNodeUnschedulable: corev1.TaintEffectNoSchedule,
	} {
		out = append(out, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect})
	}
	if spec.HostNetwork {
		out = append(out, corev1.Toleration{Key: corev1.TaintNodeNetworkUnavailable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
	}
	return out
}
