// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/takeover"
)

// cases are what a reconcile of the ProxyConfig a makes of the objects.
var cases = map[string]struct {
	objs []client.Object
	want string
}{
	"nothing is asked":        {[]client.Object{config("a", nil, ""), daemonSet("kube-proxy"), node("n", false), set("n", "a", "")}, ""},
	"the rules work":          {[]client.Object{config("a", new(true), proxy), daemonSet("kube-proxy"), node("n", false), set("n", "a", take, running)}, "kube-proxy keeps off, n=replaced, a False/NodesPending"},
	"not verified yet":        {[]client.Object{config("a", new(true), proxy), daemonSet("kube-proxy"), node("n", false), set("n", "a", take, running, programmed)}, "kube-proxy keeps off, a False/NodesPending"},
	"another revision so far": {[]client.Object{config("a", new(true), proxy), daemonSet("kube-proxy"), node("n", false), set("n", "a", "", running)}, "kube-proxy keeps off, a False/NodesPending"},
	"it is gone":              {[]client.Object{config("a", new(true), proxy), excluded("kube-proxy"), node("n", true), set("n", "a", take)}, "kube-proxy keeps off, n=replaced, a True/Replaced"},
	"one of two":              {[]client.Object{config("a", new(true), proxy), excluded("kube-proxy"), node("m", false), node("n", true), set("m", "a", take, programmed), set("n", "a", take)}, "kube-proxy keeps off, n=replaced, a False/NodesPending"},
	"no nodes":                {[]client.Object{config("a", new(true), proxy), daemonSet("kube-proxy")}, "kube-proxy keeps off, a False/NoNodesSelected"},
	"nodes of another":        {[]client.Object{config("a", new(true), proxy), daemonSet("kube-proxy"), node("n", false), set("n", "b", take)}, "kube-proxy keeps off, a False/NoNodesSelected"},
	"there is no DaemonSet":   {[]client.Object{config("a", new(true), proxy), node("n", false), set("n", "a", take, running)}, "a False/DaemonSetNotFound"},
	"none, and none runs":     {[]client.Object{config("a", new(true), proxy), node("n", false), set("n", "a", take)}, "a True/Replaced"},
	"Helm owns it":            {[]client.Object{config("a", new(true), proxy), daemonSet("kube-proxy", helm), node("n", false), set("n", "a", take, running)}, "a False/DaemonSetOwned"},
	"Helm has changed it": {[]client.Object{config("a", new(true), proxy), daemonSet("kube-proxy", helm, func(ds *appsv1.DaemonSet) {
		ds.Spec.Template.Spec.Affinity = excluded("kube-proxy").Spec.Template.Spec.Affinity
	}), node("n", false), set("n", "a", take, running)}, "kube-proxy keeps off, n=replaced, a False/NodesPending"},
	"Helm owns it, given back": {[]client.Object{config("a", new(false), proxy), daemonSet("kube-proxy", helm, func(ds *appsv1.DaemonSet) {
		ds.Spec.Template.Spec.Affinity = excluded("kube-proxy").Spec.Template.Spec.Affinity
	}), node("n", false), set("n", "a", give)}, "kube-proxy keeps off, a False/GivenBack"},
	"given back, in between":      {[]client.Object{config("a", new(false), proxy), excluded("kube-proxy"), node("m", true), node("n", true), set("m", "a", take), set("n", "a", give)}, "kube-proxy keeps off, m=replaced, a False/GivingBack"},
	"given back, the node":        {[]client.Object{config("a", new(false), proxy), excluded("kube-proxy"), node("n", true), set("n", "a", give)}, "kube-proxy keeps off, a False/GivingBack"},
	"given back, the DaemonSet":   {[]client.Object{config("a", new(false), proxy), excluded("kube-proxy"), node("n", false), set("n", "a", give)}, "a False/GivenBack"},
	"given back, it is gone":      {[]client.Object{config("a", new(false), proxy), node("n", false), set("n", "a", give)}, "a False/GivenBack"},
	"not given back, it is gone":  {[]client.Object{config("a", new(false), proxy), node("n", true), set("n", "a", take)}, "n=replaced, a False/DaemonSetNotFound"},
	"kube-proxy has not come yet": {[]client.Object{config("a", new(false), proxy), node("n", false), set("n", "a", give, keeps)}, "a False/GivingBack"},
	"a node is yet to give back":  {[]client.Object{config("a", new(false), proxy), excluded("kube-proxy"), node("n", false), set("n", "a", take, programmed)}, "kube-proxy keeps off, a False/GivingBack"},
	"it would not come back":      {[]client.Object{config("a", new(false), proxy), takeover.Exclude(daemonSet("kube-proxy", windows)), node("n", true), set("n", "a", take)}, "kube-proxy keeps off, n=replaced, a False/DaemonSetSkipsNodes"},
	"it does not come back":       {[]client.Object{config("a", new(false), proxy), takeover.Exclude(daemonSet("kube-proxy", windows)), node("n", true), set("n", "a", give, keeps)}, "kube-proxy keeps off, a False/DaemonSetSkipsNodes"},
	"not to another's nodes":      {[]client.Object{config("a", new(false), proxy), takeover.Exclude(daemonSet("kube-proxy", windows)), node("n", true), set("n", "b", take)}, "kube-proxy keeps off, n=replaced, a False/GivenBack"},
	"it does not have to":         {[]client.Object{config("a", new(true), proxy), takeover.Exclude(daemonSet("kube-proxy", windows)), node("n", true), set("n", "a", take)}, "kube-proxy keeps off, n=replaced, a True/Replaced"},
	"a label, and no expression":  {[]client.Object{config("a", new(false), proxy), daemonSet("kube-proxy", windows), node("n", true), set("n", "a", take)}, "kube-proxy keeps off, n=replaced, a False/DaemonSetSkipsNodes"},
	"left alone again":            {[]client.Object{config("a", nil, ""), excluded("kube-proxy"), node("n", true), set("n", "a", "")}, "kube-proxy keeps off"},
	"left alone, keeps a label":   {[]client.Object{config("a", nil, ""), excluded("kube-proxy"), node("m", true), node("n", false), set("m", "a", take), set("n", "a", take)}, "kube-proxy keeps off, m=replaced"},
	"the ProxyConfig is gone":     {[]client.Object{excluded("kube-proxy"), node("m", true), node("n", true), set("m", "a", give), set("n", "a", take)}, "kube-proxy keeps off, n=replaced"},
	"another one takes over":      {[]client.Object{config("a", new(false), proxy), config("b", new(true), proxy), excluded("kube-proxy"), node("n", false), set("n", "a", give)}, "kube-proxy keeps off, a False/GivenBack"},
	"another DaemonSet": {[]client.Object{config("a", new(true), "kube-system/arm"), config("b", new(true), proxy), daemonSet("arm"), daemonSet("kube-proxy"), node("n", false), node("o", false),
		set("n", "a", take, running), set("o", "b", take, running)}, "arm keeps off, n=replaced, a False/NodesPending"},
	"it takes over from another one":   {[]client.Object{config("a", new(false), proxy), config("b", new(true), "kube-system/arm"), excluded("kube-proxy"), node("n", false), set("n", "a", give)}, "a False/GivenBack"},
	"a node of no ProxyConfig has to":  {[]client.Object{config("a", new(false), proxy), excluded("kube-proxy"), node("n", false), node("o", false), set("n", "a", give), set("o", "gone", take)}, "a False/GivenBack"},
	"neither nodes nor a DaemonSet":    {[]client.Object{config("a", new(true), proxy)}, "a False/DaemonSetNotFound"},
	"it only names a DaemonSet":        {[]client.Object{naming("a", proxy), daemonSet("kube-proxy"), node("n", true), set("n", "a", "")}, ""},
	"another only names the DaemonSet": {[]client.Object{config("a", new(false), proxy), naming("b", proxy), excluded("kube-proxy"), node("n", false), set("n", "a", give)}, "a False/GivenBack"},
	"it is being deleted":              {[]client.Object{deleted("a"), daemonSet("kube-proxy"), node("m", true), node("n", false), set("m", "a", give), set("n", "a", take, running)}, ""},
	"one in another namespace":         {[]client.Object{config("a", new(true), "default/kube-proxy"), daemonSet("kube-proxy"), node("n", false), set("n", "a", take, running)}, "a False/DaemonSetNotFound"},
	"the term was removed":             {[]client.Object{config("a", new(true), proxy), daemonSet("kube-proxy"), node("n", true), set("n", "a", take, running)}, "kube-proxy keeps off, n=replaced, a False/NodesPending"},
	"the node is gone":                 {[]client.Object{config("a", new(true), proxy), excluded("kube-proxy"), set("n", "a", take)}, "kube-proxy keeps off, a False/NoNodesSelected"},
}

func TestReconcile(t *testing.T) {
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.objs...)
			if err := w.reconcile("a"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, w.has()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestEachCallFails has one call after the other fail: that is returned, and the next try does the rest.
// No node has a label before the DaemonSet heeds it.
func TestEachCallFails(t *testing.T) {
	for _, name := range []string{"the rules work", "there is no DaemonSet", "given back, in between", "given back, it is gone", "left alone again"} {
		t.Run(name, func(t *testing.T) {
			c := cases[name]
			right := newWorld(t, c.objs...)
			if err := right.reconcile("a"); err != nil {
				t.Fatal(err)
			}
			for k := range right.calls {
				w, refused := newWorld(t, c.objs...), errors.New("refused")
				w.fail = func(n int) error {
					if n == k {
						return refused
					}
					return nil
				}
				before := w.has()
				if err := w.reconcile("a"); !errors.Is(err, refused) || err.Error() == refused.Error() {
					t.Errorf("call %d: %v", k, err)
				}
				if got := w.has(); strings.Contains(got, "n=replaced") && !strings.Contains(before, "n=replaced") && !strings.Contains(got, "keeps off") {
					t.Errorf("call %d: %s", k, got)
				}
				if err := w.reconcile("a"); err != nil {
					t.Errorf("call %d, again: %v", k, err)
				}
				if diff := cmp.Diff(c.want, w.has()); diff != "" {
					t.Errorf("call %d, again (-want +got):\n%s", k, diff)
				}
			}
		})
	}
}

// TestForbidden has the apiserver refuse one call after the other: nothing fails, and the condition says
// what to do.
func TestForbidden(t *testing.T) {
	objs := []client.Object{config("a", new(true), proxy), daemonSet("kube-proxy"), node("n", false), set("n", "a", take, running)}
	no := apierrors.NewForbidden(schema.GroupResource{Resource: "daemonsets"}, "kube-proxy", errors.New("no right"))
	for name, c := range map[string]struct {
		call int
		want string
	}{
		"read the DaemonSet":   {3, "a False/MissingPermission"},
		"change the DaemonSet": {4, "a False/MissingPermission"},
		"label the node":       {5, "kube-proxy keeps off, a False/MissingPermission"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, objs...)
			w.fail = func(n int) error {
				if n == c.call {
					return no
				}
				return nil
			}
			if err := w.reconcile("a"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, w.has()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			config := &v1alpha1.ProxyConfig{}
			if err := w.api.Get(t.Context(), client.ObjectKey{Name: "a"}, config); err != nil {
				t.Fatal(err)
			}
			got := apimeta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced)
			if !strings.Contains(got.Message, "-k config/takeover") || !strings.Contains(got.Message, "no right") || got.ObservedGeneration != 2 {
				t.Errorf("condition %+v", got)
			}
			if err := w.reconcile("a"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff("kube-proxy keeps off, n=replaced, a False/NodesPending", w.has()); diff != "" {
				t.Errorf("once it has the right (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSkipped checks that the message names the nodes that a DaemonSet skips, and what to change.
func TestSkipped(t *testing.T) {
	objs := []client.Object{config("a", new(false), proxy), takeover.Exclude(daemonSet("kube-proxy"))}
	for i, name := range []string{"m", "n", "o", "p"} {
		n := node(name, true)
		if i > 0 {
			n.Spec.Taints = []corev1.Taint{{Key: name, Effect: corev1.TaintEffectNoSchedule}}
		}
		s := set(name, "a", take)
		s.Status.KubeProxy = &v1alpha1.KubeProxyStatus{Running: name == "p"}
		objs = append(objs, n, s)
	}
	w := newWorld(t, objs...)
	if err := w.reconcile("a"); err != nil {
		t.Fatal(err)
	}
	config := &v1alpha1.ProxyConfig{}
	if err := w.api.Get(t.Context(), client.ObjectKey{Name: "a"}, config); err != nil {
		t.Fatal(err)
	}
	got := apimeta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced).Message
	want := "kube-proxy does not come back to node n, because DaemonSet kube-system/kube-proxy does not tolerate its taint n:NoSchedule: " +
		"add a toleration to its template, or remove the taint. Or start kube-proxy on the node. Nor does it come back to: o"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestThereAndBack takes over and gives back: what was there before is there again.
func TestThereAndBack(t *testing.T) {
	before := daemonSet("kube-proxy", func(ds *appsv1.DaemonSet) {
		ds.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}}
	})
	w := newWorld(t, config("a", new(true), proxy), before, node("n", false), set("n", "a", take, running))
	step := func(want string) {
		t.Helper()
		if err := w.reconcile("a"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, w.has()); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
	change := func(obj client.Object, f func()) {
		t.Helper()
		if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			t.Fatal(err)
		}
		f()
		if err := w.api.Update(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	step("kube-proxy keeps off, n=replaced, a False/NodesPending")
	ofNode, ofConfig := set("n", "a", take), config("a", nil, "")
	change(ofNode, func() { ofNode.Status.Conditions[1].Status = metav1.ConditionTrue })
	step("kube-proxy keeps off, n=replaced, a True/Replaced")
	calls := w.calls
	step("kube-proxy keeps off, n=replaced, a True/Replaced")
	if n := w.calls - calls; n != 4 {
		t.Errorf("%d calls where nothing is to do, want 3 of the cache and a DaemonSet", n)
	}
	change(ofConfig, func() { ofConfig.Spec.KubeProxy.TakeOver = new(false) })
	step("kube-proxy keeps off, n=replaced, a False/GivingBack")
	change(ofNode, func() { ofNode.Spec.KubeProxy = give })
	step("kube-proxy keeps off, a False/GivingBack")
	step("a False/GivingBack")
	change(ofNode, func() {
		ofNode.Status.Conditions[1].Status, ofNode.Status.Conditions[1].Reason = metav1.ConditionFalse, v1alpha1.ReasonGivenBack
	})
	step("a False/GivenBack")
	after := &appsv1.DaemonSet{}
	if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(before), after); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Spec, after.Spec); diff != "" || len(after.Annotations) > 0 {
		t.Errorf("annotations %v, (-before +after):\n%s", after.Annotations, diff)
	}
	change(ofConfig, func() { ofConfig.Spec.KubeProxy = nil })
	step("")
	if diff := cmp.Diff([]string{"Normal KubeProxyExcluded", "Normal KubeProxyRestored"}, w.reasons()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
