// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// expression keeps Pods off nodes with the label.
var expression = corev1.NodeSelectorRequirement{
	Key: v1alpha1.LabelKubeProxy, Operator: corev1.NodeSelectorOpNotIn, Values: []string{v1alpha1.KubeProxyReplaced},
}

// KeepsOff says whether a DaemonSet keeps off nodes with the label, whoever has made it so. Its
// terms are alternatives, so each one must.
func KeepsOff(ds *appsv1.DaemonSet) bool {
	required := requiredOf(ds.Spec.Template.Spec.Affinity)
	if required == nil {
		return false
	}
	for _, term := range required.NodeSelectorTerms {
		if !isEmpty(term) && !slices.ContainsFunc(term.MatchExpressions, keepsOff) {
			return false
		}
	}
	return true
}

func keepsOff(r corev1.NodeSelectorRequirement) bool {
	return r.Key == expression.Key && (r.Operator == corev1.NodeSelectorOpDoesNotExist ||
		r.Operator == corev1.NodeSelectorOpNotIn && slices.Contains(r.Values, v1alpha1.KubeProxyReplaced))
}

// isEmpty says that a term selects no node. With an expression it would select some.
func isEmpty(term corev1.NodeSelectorTerm) bool {
	return len(term.MatchExpressions) == 0 && len(term.MatchFields) == 0
}

func requiredOf(affinity *corev1.Affinity) *corev1.NodeSelector {
	if affinity == nil || affinity.NodeAffinity == nil {
		return nil
	}
	return affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

// IsChanged says whether Exclude has changed a DaemonSet.
func IsChanged(ds *appsv1.DaemonSet) bool {
	_, ok := ds.Annotations[v1alpha1.AnnotationAffinityBefore]
	return ok
}

// Exclude returns a DaemonSet that keeps off nodes with the label, and has its affinity of before
// in an annotation.
func Exclude(ds *appsv1.DaemonSet) *appsv1.DaemonSet {
	out := Restore(ds)
	before, err := json.Marshal(out.Spec.Template.Spec.Affinity)
	if err != nil {
		panic(fmt.Sprintf("encode an affinity: %v", err)) // of strings and numbers
	}
	if out.Annotations == nil {
		out.Annotations = map[string]string{}
	}
	out.Annotations[v1alpha1.AnnotationAffinityBefore] = string(before)
	affinity := out.Spec.Template.Spec.Affinity
	if affinity == nil {
		affinity = &corev1.Affinity{}
	}
	if affinity.NodeAffinity == nil {
		affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	required := &affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if *required == nil {
		*required = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{expression}}}}
	} else {
		for i := range (*required).NodeSelectorTerms {
			if term := &(*required).NodeSelectorTerms[i]; !isEmpty(*term) && !slices.ContainsFunc(term.MatchExpressions, keepsOff) {
				term.MatchExpressions = append(term.MatchExpressions, expression)
			}
		}
	}
	out.Spec.Template.Spec.Affinity = affinity
	return out
}

// Restore returns a DaemonSet without what Exclude has changed. What others have changed since
// stays, and so does an affinity without the annotation: it is of others.
func Restore(ds *appsv1.DaemonSet) *appsv1.DaemonSet {
	out := ds.DeepCopy()
	text, ok := out.Annotations[v1alpha1.AnnotationAffinityBefore]
	if !ok {
		return out
	}
	if delete(out.Annotations, v1alpha1.AnnotationAffinityBefore); len(out.Annotations) == 0 {
		out.Annotations = nil
	}
	affinity := without(out.Spec.Template.Spec.Affinity)
	var before *corev1.Affinity
	if err := json.Unmarshal([]byte(text), &before); err == nil && apiequality.Semantic.DeepEqual(affinity, without(before)) {
		affinity = before
	}
	out.Spec.Template.Spec.Affinity = affinity
	return out
}

// without returns an affinity without the expression. What is empty then is absent: an empty
// list of terms is invalid, and an empty term selects no node.
func without(affinity *corev1.Affinity) *corev1.Affinity {
	out := affinity.DeepCopy()
	if required := requiredOf(out); required != nil {
		var terms []corev1.NodeSelectorTerm
		for _, term := range required.NodeSelectorTerms {
			wasEmpty := isEmpty(term)
			term.MatchExpressions = slices.DeleteFunc(term.MatchExpressions, func(r corev1.NodeSelectorRequirement) bool {
				return apiequality.Semantic.DeepEqual(r, expression)
			})
			if wasEmpty || !isEmpty(term) {
				terms = append(terms, term)
			}
		}
		if required.NodeSelectorTerms = terms; len(terms) == 0 {
			out.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = nil
		}
	}
	if out != nil && out.NodeAffinity != nil && apiequality.Semantic.DeepEqual(*out.NodeAffinity, corev1.NodeAffinity{}) {
		out.NodeAffinity = nil
	}
	if out != nil && apiequality.Semantic.DeepEqual(*out, corev1.Affinity{}) {
		return nil
	}
	return out
}
