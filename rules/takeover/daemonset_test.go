// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// withAffinity is a DaemonSet with an affinity in YAML; "": none.
func withAffinity(t *testing.T, affinity string) *appsv1.DaemonSet {
	t.Helper()
	return decode(t, "{metadata: {namespace: kube-system, name: kube-proxy}, spec: {template: {spec: {affinity: "+affinity+"}}}}")
}

func decode(t *testing.T, text string) *appsv1.DaemonSet {
	t.Helper()
	ds := &appsv1.DaemonSet{}
	if err := yaml.UnmarshalStrict([]byte(text), ds); err != nil {
		t.Fatal(err)
	}
	return ds
}

// of is an affinity that requires one of some terms.
func of(terms ...string) string {
	return "{nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" + strings.Join(terms, ", ") + "]}}}"
}

const (
	ours      = "{key: proxy.fairlead.dev/kube-proxy, operator: NotIn, values: [replaced]}"
	linux     = "{key: kubernetes.io/os, operator: In, values: [linux]}"
	onlyOurs  = "{matchExpressions: [" + ours + "]}"
	onLinux   = "{matchExpressions: [" + linux + "]}"
	both      = "{matchExpressions: [" + linux + ", " + ours + "]}"
	named     = "{matchFields: [{key: metadata.name, operator: In, values: [a]}]}"
	namedOurs = "{matchFields: [{key: metadata.name, operator: In, values: [a]}], matchExpressions: [" + ours + "]}"
	preferred = "preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: " + onLinux + "}]"
	pods      = "podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a}]}"
)

// TestExclude checks what is added to a DaemonSet, and that nothing of it is left.
func TestExclude(t *testing.T) {
	for name, c := range map[string]struct{ before, want string }{
		"none":                   {"null", of(onlyOurs)},
		"empty":                  {"{}", of(onlyOurs)},
		"empty affinity of node": {"{nodeAffinity: {}}", of(onlyOurs)},
		"of Pods":                {"{" + pods + "}", "{" + pods + ", " + of(onlyOurs)[1:]},
		"preferred nodes":        {"{nodeAffinity: {" + preferred + "}}", "{nodeAffinity: {" + preferred + ", requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" + onlyOurs + "]}}}"},
		"one term":               {of(onLinux), of(both)},
		"each of several":        {of(onLinux, named), of(both, namedOurs)},
		"no nodes at all":        {of("{}"), of("{}")},
		"an alternative of none": {of("{}", onLinux), of("{}", both)},
		"one has it":             {of(both, named), of(both, namedOurs)},
	} {
		t.Run(name, func(t *testing.T) {
			before := withAffinity(t, c.before)
			before.Annotations = map[string]string{"deprecated.daemonset.template.generation": "1"}
			unchanged := before.DeepCopy()
			got := Exclude(before)
			if diff := cmp.Diff(withAffinity(t, c.want).Spec, got.Spec); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !KeepsOff(got) || !IsChanged(got) || IsChanged(before) {
				t.Errorf("keeps off %v, changed %v; before: %v", KeepsOff(got), IsChanged(got), IsChanged(before))
			}
			if diff := cmp.Diff(got, Exclude(got)); diff != "" {
				t.Errorf("twice is another:\n%s", diff)
			}
			if diff := cmp.Diff(unchanged, Restore(got)); diff != "" {
				t.Errorf("restored (-before +got):\n%s", diff)
			}
			if diff := cmp.Diff(unchanged, before); diff != "" {
				t.Errorf("the object itself is changed:\n%s", diff)
			}
		})
	}
}

// TestAnnotations checks that nothing is left where there was no annotation.
func TestAnnotations(t *testing.T) {
	before := withAffinity(t, "null")
	if diff := cmp.Diff(map[string]string{v1alpha1.AnnotationAffinityBefore: "null"}, Exclude(before).Annotations); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, Restore(Exclude(before))); diff != "" {
		t.Errorf("restored (-before +got):\n%s", diff)
	}
}

// TestRestoreKeepsChanges restores a DaemonSet that others have changed in between.
func TestRestoreKeepsChanges(t *testing.T) {
	for name, c := range map[string]struct{ recorded, now, want string }{
		"another term":          {"null", of(onlyOurs, onLinux), of(onLinux)},
		"without our term":      {"null", of(onLinux), of(onLinux)},
		"another expression":    {"null", of(both), of(onLinux)},
		"others removed theirs": {`{"nodeAffinity":{}}`, "null", "{nodeAffinity: {}}"},
		"the record is damaged": {"{", of(both), of(onLinux)},
		"and there was nothing": {"{", of(onlyOurs), "null"},
		"a term selects none":   {"{", of("{}", both), of("{}", onLinux)},
		"preferred nodes stay":  {"null", "{nodeAffinity: {" + preferred + ", requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" + onlyOurs + "]}}}", "{nodeAffinity: {" + preferred + "}}"},
		"affinity of Pods":      {"null", "{" + pods + ", " + of(onlyOurs)[1:], "{" + pods + "}"},
	} {
		t.Run(name, func(t *testing.T) {
			ds := withAffinity(t, c.now)
			ds.Annotations = map[string]string{v1alpha1.AnnotationAffinityBefore: c.recorded}
			if diff := cmp.Diff(withAffinity(t, c.want), Restore(ds)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	ds := withAffinity(t, of(both)) // of others: there is no annotation
	if diff := cmp.Diff(ds, Restore(ds)); diff != "" {
		t.Errorf("not ours (-before +got):\n%s", diff)
	}
}

func TestKeepsOff(t *testing.T) {
	for name, c := range map[string]struct {
		affinity string
		want     bool
	}{
		"none":                       {"null", false},
		"of Pods":                    {"{" + pods + "}", false},
		"preferred":                  {"{nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: " + onlyOurs + "}]}}", false},
		"ours":                       {of(onlyOurs), true},
		"one of two alternatives":    {of(both, onLinux), false},
		"both alternatives":          {of(both, namedOurs), true},
		"no label at all":            {of("{matchExpressions: [{key: proxy.fairlead.dev/kube-proxy, operator: DoesNotExist}]}"), true},
		"several values":             {of("{matchExpressions: [{key: proxy.fairlead.dev/kube-proxy, operator: NotIn, values: [a, replaced]}]}"), true},
		"another value":              {of("{matchExpressions: [{key: proxy.fairlead.dev/kube-proxy, operator: NotIn, values: [a]}]}"), false},
		"only there":                 {of("{matchExpressions: [{key: proxy.fairlead.dev/kube-proxy, operator: In, values: [replaced]}]}"), false},
		"another label":              {of("{matchExpressions: [{key: kube-proxy, operator: NotIn, values: [replaced]}]}"), false},
		"a term that selects none":   {of("{}", both), true},
		"there is none but this one": {of("{}"), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := KeepsOff(withAffinity(t, c.affinity)); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestOwnerOf(t *testing.T) {
	for name, c := range map[string]struct{ metadata, want string }{
		"kubeadm": {"{labels: {k8s-app: kube-proxy}, annotations: {deprecated.daemonset.template.generation: '1'}, " +
			"managedFields: [{manager: kubeadm, operation: Update}, {manager: kube-controller-manager, operation: Update}]}", ""},
		"kubectl":            {"{managedFields: [{manager: kubectl-client-side-apply, operation: Update}]}", ""},
		"the controller":     {"{managedFields: [{manager: fairlead-controller, operation: Update}]}", ""},
		"a label of another": {"{labels: {app.kubernetes.io/managed-by: kubeadm}}", ""},
		"Helm":               {"{labels: {app.kubernetes.io/managed-by: Helm}}", "Helm (label app.kubernetes.io/managed-by)"},
		"a release":          {"{annotations: {meta.helm.sh/release-name: kube-proxy}}", "Helm (annotation meta.helm.sh/release-name)"},
		"Argo CD":            {"{labels: {argocd.argoproj.io/instance: a}}", "Argo CD (label argocd.argoproj.io/instance)"},
		"Argo CD tracks":     {"{annotations: {argocd.argoproj.io/tracking-id: 'a:apps/DaemonSet:b'}}", "Argo CD (annotation argocd.argoproj.io/tracking-id)"},
		"Flux":               {"{labels: {kustomize.toolkit.fluxcd.io/name: a}}", "Flux (label kustomize.toolkit.fluxcd.io/name)"},
		"add-on":             {"{labels: {addonmanager.kubernetes.io/mode: Reconcile}}", "the add-on manager (label addonmanager.kubernetes.io/mode)"},
		"an object":          {"{ownerReferences: [{apiVersion: operator.openshift.io/v1, kind: Network, name: cluster}]}", "Network cluster (ownerReferences)"},
		"Helm's client":      {"{managedFields: [{manager: helm, operation: Update}, {manager: kubectl}]}", "Helm (managedFields helm)"},
		"EKS":                {"{managedFields: [{manager: kubectl}, {manager: eks, operation: Apply}]}", "the EKS add-on (managedFields eks)"},
		"the first mark":     {"{labels: {addonmanager.kubernetes.io/mode: Reconcile}, annotations: {meta.helm.sh/release-name: a}}", "Helm (annotation meta.helm.sh/release-name)"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, OwnerOf(decode(t, "{metadata: "+c.metadata+"}"))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAdvice(t *testing.T) {
	const path = "spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: "
	for name, c := range map[string]struct{ affinity, want string }{
		"none":  {"null", "set its " + path + "[" + onlyOurs + "]"},
		"terms": {of(onLinux), "add to the matchExpressions of each of its " + path + "- " + ours},
	} {
		t.Run(name, func(t *testing.T) {
			want := "DaemonSet kube-system/kube-proxy belongs to Helm, so the controller does not change it. There " + c.want
			if diff := cmp.Diff(want, Advice(withAffinity(t, c.affinity), "Helm")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
