// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/internal/apitest"
	"github.com/fairlead-proxy/fairlead/rules/takeover"
)

// scheme is that of all tests: it takes some time.
var scheme = runtime.NewScheme()

func init() {
	if err := errors.Join(v1alpha1.AddToScheme(scheme), clientgoscheme.AddToScheme(scheme)); err != nil {
		panic(err)
	}
}

// world is a Reconciler with an API in memory, each call of which may fail.
type world struct {
	*Reconciler
	t      *testing.T
	api    client.WithWatch
	events *events.FakeRecorder
	fail   func(n int) error // of the n-th call; nil: none fails
	calls  int
}

func newWorld(t *testing.T, objs ...client.Object) *world {
	t.Helper()
	copies := make([]client.Object, 0, len(objs))
	for _, o := range objs {
		copies = append(copies, o.DeepCopyObject().(client.Object))
	}
	w := &world{t: t, events: events.NewFakeRecorder(100), api: fake.NewClientBuilder().WithScheme(scheme).WithObjects(copies...).
		WithStatusSubresource(&v1alpha1.ProxyConfig{}).WithReturnManagedFields().Build()}
	c := interceptor.NewClient(w.api, apitest.Failing(func() error {
		w.calls++
		if w.fail == nil {
			return nil
		}
		return w.fail(w.calls - 1)
	}))
	w.Reconciler = &Reconciler{Client: c, Live: c, Recorder: w.events}
	return w
}

func (w *world) reconcile(name string) error {
	w.t.Helper()
	result, err := w.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Name: name}})
	if again := w.looksAgain(name); err == nil && (result.RequeueAfter == period) != again || !again && result.RequeueAfter != 0 {
		w.t.Errorf("again after %s, want another look: %v", result.RequeueAfter, again)
	}
	return err
}

// looksAgain says whether a ProxyConfig names a DaemonSet that is to be looked at again and again.
func (w *world) looksAgain(name string) bool {
	c := &v1alpha1.ProxyConfig{}
	err := w.api.Get(w.t.Context(), client.ObjectKey{Name: name}, c)
	return err == nil && c.DeletionTimestamp == nil && c.Spec.KubeProxy != nil && c.Spec.KubeProxy.TakeOver != nil
}

// has describes the DaemonSets, the labelled nodes and the conditions.
func (w *world) has() string {
	w.t.Helper()
	var out []string
	var sets appsv1.DaemonSetList
	var nodes corev1.NodeList
	var configs v1alpha1.ProxyConfigList
	for _, list := range []client.ObjectList{&sets, &nodes, &configs} {
		if err := w.api.List(w.t.Context(), list); err != nil {
			w.t.Fatal(err)
		}
	}
	for i := range sets.Items {
		if ds := &sets.Items[i]; takeover.KeepsOff(ds) {
			out = append(out, ds.Name+" keeps off")
		}
	}
	for i := range nodes.Items {
		if value, ok := nodes.Items[i].Labels[v1alpha1.LabelKubeProxy]; ok {
			out = append(out, nodes.Items[i].Name+"="+value)
		}
	}
	for i := range configs.Items {
		if c := apimeta.FindStatusCondition(configs.Items[i].Status.Conditions, v1alpha1.ConditionKubeProxyReplaced); c != nil {
			out = append(out, fmt.Sprintf("%s %s/%s", configs.Items[i].Name, c.Status, c.Reason))
		}
	}
	return strings.Join(out, ", ")
}

func config(name string, takeOver *bool, daemonSet string) *v1alpha1.ProxyConfig {
	c := &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Generation: 2}}
	if takeOver != nil {
		c.Spec.KubeProxy = &v1alpha1.KubeProxyOptions{TakeOver: takeOver, DaemonSet: daemonSet}
	}
	return c
}

// naming is a ProxyConfig that leaves kube-proxy alone and names its DaemonSet.
func naming(name, daemonSet string) *v1alpha1.ProxyConfig {
	c := config(name, nil, "")
	c.Spec.KubeProxy = &v1alpha1.KubeProxyOptions{DaemonSet: daemonSet}
	return c
}

// deleted is a ProxyConfig that takes over and is being deleted.
func deleted(name string) *v1alpha1.ProxyConfig {
	c := config(name, new(true), proxy)
	c.DeletionTimestamp, c.Finalizers = new(metav1.Unix(1_700_000_000, 0)), []string{"example.com/wait"}
	return c
}

func node(name string, labelled bool) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{"kubernetes.io/os": "linux"}}}
	if labelled {
		n.Labels[v1alpha1.LabelKubeProxy] = v1alpha1.KubeProxyReplaced
	}
	return n
}

// set is the NodeRuleSet of a node that runs its revision.
func set(node, config string, action v1alpha1.KubeProxyAction, change ...func(*v1alpha1.NodeRuleSet)) *v1alpha1.NodeRuleSet {
	now := metav1.Unix(1_700_000_000, 0)
	s := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: node},
		Spec: v1alpha1.NodeRuleSetSpec{Policy: v1alpha1.PolicyReference{Name: config}, Revision: "r", KubeProxy: action},
		Status: v1alpha1.NodeRuleSetStatus{
			Revision: &v1alpha1.RevisionStatus{Name: "r", Phase: v1alpha1.RevisionVerified, VerifiedTime: &now},
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionTrue},
				{Type: v1alpha1.ConditionKubeProxyReplaced, Status: metav1.ConditionTrue}},
		}}
	if action == give {
		s.Status.Conditions[1].Status, s.Status.Conditions[1].Reason = metav1.ConditionFalse, v1alpha1.ReasonGivenBack
	}
	for _, f := range change {
		f(s)
	}
	return s
}

func keeps(s *v1alpha1.NodeRuleSet)      { s.Status.Conditions[1].Reason = v1alpha1.ReasonKubeProxyFound }
func running(s *v1alpha1.NodeRuleSet)    { s.Status.Conditions[1].Status = metav1.ConditionFalse }
func programmed(s *v1alpha1.NodeRuleSet) { s.Status.Revision.Phase = v1alpha1.RevisionProgrammed }

func daemonSet(name string, change ...func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name}}
	for _, f := range change {
		f(ds)
	}
	return ds
}

func excluded(name string) *appsv1.DaemonSet { return takeover.Exclude(daemonSet(name)) }
func windows(ds *appsv1.DaemonSet) {
	ds.Spec.Template.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "windows"}
}

func helm(ds *appsv1.DaemonSet) {
	ds.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm"}
}

const (
	proxy = "kube-system/kube-proxy"
	take  = v1alpha1.KubeProxyTakeOver
	give  = v1alpha1.KubeProxyGiveBack
)
