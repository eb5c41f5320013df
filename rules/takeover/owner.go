// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// marks are the labels and annotations of what writes objects again and again.
var marks = []struct{ key, value, owner string }{
	{"app.kubernetes.io/managed-by", "Helm", "Helm"},
	{"meta.helm.sh/release-name", "", "Helm"},
	{"argocd.argoproj.io/instance", "", "Argo CD"},
	{"argocd.argoproj.io/tracking-id", "", "Argo CD"},
	{"kustomize.toolkit.fluxcd.io/name", "", "Flux"},
	{"helm.toolkit.fluxcd.io/name", "", "Flux"},
	{"addonmanager.kubernetes.io/mode", "", "the add-on manager"},
	{"olm.owner", "", "the Operator Lifecycle Manager"},
}

// managers are the field managers of such programs.
var managers = map[string]string{
	"helm": "Helm", "helm-controller": "Flux", "kustomize-controller": "Flux",
	"argocd-controller": "Argo CD", "argocd-application-controller": "Argo CD",
	"eks": "the EKS add-on", "fleetagent": "Fleet", "kapp-controller": "kapp",
}

// OwnerOf returns what owns a DaemonSet, so that it would undo a change or be in its way, and how it shows;
// empty: nothing does. The DaemonSet that kubeadm has created has no owner.
func OwnerOf(ds *appsv1.DaemonSet) string {
	for _, m := range marks {
		for i, of := range []map[string]string{ds.Labels, ds.Annotations} {
			if value, ok := of[m.key]; ok && (m.value == "" || value == m.value) {
				return fmt.Sprintf("%s (%s %s)", m.owner, []string{"label", "annotation"}[i], m.key)
			}
		}
	}
	for _, ref := range ds.OwnerReferences {
		return fmt.Sprintf("%s %s (ownerReferences)", ref.Kind, ref.Name)
	}
	i := slices.IndexFunc(ds.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return managers[f.Manager] != "" })
	if i < 0 {
		return ""
	}
	return fmt.Sprintf("%s (managedFields %s)", managers[ds.ManagedFields[i].Manager], ds.ManagedFields[i].Manager)
}

// Advice says what to change in a DaemonSet, and where.
func Advice(ds *appsv1.DaemonSet, owner string) string {
	const terms = "spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
	text := fmt.Sprintf("{key: %s, operator: %s, values: [%s]}", expression.Key, expression.Operator, strings.Join(expression.Values, ", "))
	if required := requiredOf(ds.Spec.Template.Spec.Affinity); required != nil {
		text = fmt.Sprintf("add to the matchExpressions of each of its %s: - %s", terms, text)
	} else {
		text = fmt.Sprintf("set its %s: [{matchExpressions: [%s]}]", terms, text)
	}
	return fmt.Sprintf("DaemonSet %s/%s belongs to %s, so the controller does not change it. There %s", ds.Namespace, ds.Name, owner, text)
}
