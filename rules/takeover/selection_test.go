// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestSkips checks which DaemonSets have a Pod on a node once that has no label any more.
func TestSkips(t *testing.T) {
	const (
		notSelected = "does not select it: change nodeSelector or affinity of its template, or the labels of the node"
		dedicated   = "does not tolerate its taint a=b:NoSchedule: add a toleration to its template, or remove the taint"
		onNoExecute = "does not tolerate its taint a=b:NoExecute: add a toleration to its template, or remove the taint"
		noNetwork   = "does not tolerate its taint node.kubernetes.io/network-unavailable:NoSchedule: add a toleration to its template, or remove the taint"
	)
	for name, c := range map[string]struct{ template, taints, want string }{
		"all nodes":                       {"{}", "[]", ""},
		"its labels":                      {"{nodeSelector: {kubernetes.io/os: linux}}", "[]", ""},
		"other labels":                    {"{nodeSelector: {kubernetes.io/os: windows}}", "[]", notSelected},
		"its affinity":                    {"{affinity: " + of(onLinux) + "}", "[]", ""},
		"another affinity":                {"{affinity: " + of("{matchExpressions: [{key: a, operator: Exists}]}") + "}", "[]", notSelected},
		"nodes without the label":         {"{affinity: " + of(both) + "}", "[]", ""},
		"nodes with the label":            {"{affinity: " + of("{matchExpressions: [{key: proxy.fairlead.dev/kube-proxy, operator: Exists}]}") + "}", "[]", notSelected},
		"no node":                         {"{affinity: " + of("{}") + "}", "[]", notSelected},
		"an invalid term":                 {"{affinity: " + of("{matchExpressions: [{key: a, operator: Odd}]}") + "}", "[]", notSelected},
		"by its name":                     {"{affinity: " + of("{matchFields: [{key: metadata.name, operator: In, values: [node-1]}]}") + "}", "[]", ""},
		"another name":                    {"{affinity: " + of(named) + "}", "[]", notSelected},
		"a preference":                    {"{affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: " + named + "}]}}}", "[]", ""},
		"it":                              {"{nodeName: node-1}", "[]", ""},
		"another one":                     {"{nodeName: a}", "[]", notSelected},
		"a taint":                         {"{}", "[{key: a, value: b, effect: NoSchedule}]", dedicated},
		"a taint that ends Pods":          {"{}", "[{key: a, value: b, effect: NoExecute}]", onNoExecute},
		"a taint that counts little":      {"{}", "[{key: a, value: b, effect: PreferNoSchedule}]", ""},
		"a taint that is tolerated":       {"{tolerations: [{key: a, operator: Exists}]}", "[{key: a, value: b, effect: NoSchedule}]", ""},
		"one of two is":                   {"{tolerations: [{key: c, operator: Exists}]}", "[{key: c, effect: NoSchedule}, {key: a, value: b, effect: NoSchedule}]", dedicated},
		"all taints are":                  {"{tolerations: [{operator: Exists}]}", "[{key: a, value: b, effect: NoExecute}]", ""},
		"a cordoned node":                 {"{}", "[{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]", ""},
		"a node in trouble":               {"{}", "[{key: node.kubernetes.io/not-ready, effect: NoExecute}, {key: node.kubernetes.io/memory-pressure, effect: NoSchedule}]", ""},
		"no network":                      {"{}", "[{key: node.kubernetes.io/network-unavailable, effect: NoSchedule}]", noNetwork},
		"no network, in that of the node": {"{hostNetwork: true}", "[{key: node.kubernetes.io/network-unavailable, effect: NoSchedule}]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{"kubernetes.io/os": "linux", v1alpha1.LabelKubeProxy: v1alpha1.KubeProxyReplaced}}}
			if err := yaml.UnmarshalStrict([]byte(c.taints), &node.Spec.Taints); err != nil {
				t.Fatal(err)
			}
			before := node.DeepCopy()
			if diff := cmp.Diff(c.want, Skips(decode(t, "{spec: {template: {spec: "+c.template+"}}}"), node)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, node); diff != "" {
				t.Errorf("the node itself is changed:\n%s", diff)
			}
		})
	}
}

func TestAwaitsKubeProxy(t *testing.T) {
	const take, give = v1alpha1.KubeProxyTakeOver, v1alpha1.KubeProxyGiveBack
	gone, runs := &v1alpha1.KubeProxyStatus{}, &v1alpha1.KubeProxyStatus{Running: true}
	given := found(give, gone)
	given.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionKubeProxyReplaced, Reason: v1alpha1.ReasonGivenBack}}
	for name, c := range map[string]struct {
		set  *v1alpha1.NodeRuleSet
		want bool
	}{
		"left alone":              {found("", gone), false},
		"has taken over":          {found(take, gone), true},
		"its agent is quiet":      {found(take, nil), true},
		"kube-proxy runs":         {found(take, runs), false},
		"gives back":              {found(give, gone), true},
		"gives back, and it runs": {found(give, runs), false},
		"was given back":          {given, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := AwaitsKubeProxy(c.set); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
