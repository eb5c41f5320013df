// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// grantTakeover installs config/takeover until the test ends.
func grantTakeover(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { waitUntilRevoked(t) })
	kubectl(t, "apply", "--server-side", "-k", filepath.Join("..", "..", "config", "takeover"))
	meta := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	cleanUp(t, &rbacv1.Role{ObjectMeta: meta("kube-system", "fairlead-takeover-role")})
	cleanUp(t, &rbacv1.RoleBinding{ObjectMeta: meta("kube-system", "fairlead-takeover-rolebinding")})
	cleanUp(t, &rbacv1.ClusterRole{ObjectMeta: meta("", "fairlead-takeover-role")})
	cleanUp(t, &rbacv1.ClusterRoleBinding{ObjectMeta: meta("", "fairlead-takeover-rolebinding")})
	cleanUp(t, &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: meta("", "fairlead-takeover.fairlead.dev")})
	cleanUp(t, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta("", "fairlead-takeover.fairlead.dev")})
}

// waitUntilRevoked waits until the rights of config/takeover have no effect any more: the next
// test may check them, or change nodes with the name of the controller.
func waitUntilRevoked(t *testing.T) {
	t.Helper()
	ctx := context.Background() // the test has ended
	probe := node("probe")
	if err := api.Create(ctx, probe); err != nil {
		t.Error(err)
		return
	}
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: serviceAccount("fairlead-controller-manager"),
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "patch", Resource: "nodes"}}}
		if err := api.Create(ctx, review); err != nil || review.Status.Allowed {
			return false, err
		}
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"labels": {"a": "b"}}}`))
		return api.Patch(ctx, probe.DeepCopy(), patch, client.DryRunAll) == nil, nil
	})
	if err := errors.Join(err, api.Delete(ctx, probe)); err != nil {
		t.Errorf("the rights of config/takeover are not revoked: %v", err)
	}
}

// kubeProxy creates the DaemonSet of kube-proxy as kubeadm does.
func kubeProxy(t *testing.T) *appsv1.DaemonSet {
	t.Helper()
	labels := map[string]string{"k8s-app": "kube-proxy"}
	ds := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-proxy", Labels: labels},
		Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec: corev1.PodSpec{HostNetwork: true, NodeSelector: map[string]string{"kubernetes.io/os": "linux"},
				Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
				Containers:  []corev1.Container{{Name: "kube-proxy", Image: "registry.k8s.io/kube-proxy:v1.37.0"}}}}},
	}
	if err := administrator(t).Create(t.Context(), ds, client.FieldOwner("kubeadm")); err != nil {
		t.Fatal(err)
	}
	cleanUp(t, ds)
	return ds
}

// agentReports writes what the agent of n1 says of its revision and of kube-proxy.
func agentReports(t *testing.T, kubeProxy *v1alpha1.KubeProxyStatus) {
	t.Helper()
	// The controller writes the spec at the same time.
	eventually(t, "the agent's report", func(ctx context.Context) bool {
		set := &v1alpha1.NodeRuleSet{}
		if err := api.Get(ctx, client.ObjectKey{Name: "n1"}, set); err != nil {
			t.Fatal(err)
		}
		now := metav1.Now()
		set.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonProgrammed,
			ObservedGeneration: set.Generation, LastTransitionTime: now}}
		set.Status.ObservedGeneration, set.Status.AppliedRevision = set.Generation, set.Spec.Revision
		set.Status.Revision = &v1alpha1.RevisionStatus{Name: set.Spec.Revision, AssignedTime: set.Spec.AssignedTime, Phase: v1alpha1.RevisionVerified, VerifiedTime: &now}
		set.Status.KubeProxy = kubeProxy
		replaced := metav1.Condition{Type: v1alpha1.ConditionKubeProxyReplaced, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonKubeProxyFound,
			ObservedGeneration: set.Generation, LastTransitionTime: now}
		if kubeProxy.IsGone() {
			replaced.Status, replaced.Reason = metav1.ConditionTrue, v1alpha1.ReasonReplaced
		}
		if set.Spec.KubeProxy == v1alpha1.KubeProxyGiveBack {
			if replaced.Status, replaced.Reason = metav1.ConditionUnknown, v1alpha1.ReasonGivingBack; kubeProxy.Running {
				replaced.Status, replaced.Reason = metav1.ConditionFalse, v1alpha1.ReasonGivenBack
			}
		}
		set.Status.Conditions = append(set.Status.Conditions, replaced)
		err := api.Status().Update(ctx, set)
		if err != nil && !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// takesOver is a cluster of one node with a kube-proxy, and the controller.
type takesOver struct {
	t      *testing.T
	config *v1alpha1.ProxyConfig
	before *appsv1.DaemonSet
}

// wants waits until the condition, the label and the DaemonSet are as wanted.
func (o *takesOver) wants(want string) (message string) {
	o.t.Helper()
	got := ""
	defer func() {
		if o.t.Failed() {
			o.t.Logf("got %s: %s, want %s", got, message, want)
		}
	}()
	eventually(o.t, want, func(ctx context.Context) bool {
		config, node, ds := &v1alpha1.ProxyConfig{}, &corev1.Node{}, &appsv1.DaemonSet{}
		for obj, key := range map[client.Object]client.ObjectKey{config: {Name: o.config.Name}, node: {Name: "n1"}, ds: client.ObjectKeyFromObject(o.before)} {
			if err := api.Get(ctx, key, obj); err != nil {
				o.t.Fatal(err)
			}
		}
		got = "absent"
		if c := apimeta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionKubeProxyReplaced); c != nil {
			got, message = fmt.Sprintf("%s %s", c.Status, c.Reason), c.Message
		}
		got += fmt.Sprintf(", label %q, affinity %v", node.Labels[v1alpha1.LabelKubeProxy], ds.Spec.Template.Spec.Affinity != nil)
		return got == want
	})
	return message
}

// changes changes what the ProxyConfig says of kube-proxy.
func (o *takesOver) changes(patch string) {
	o.t.Helper()
	if err := administrator(o.t).Patch(o.t.Context(), o.config, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		o.t.Fatal(err)
	}
}

func (o *takesOver) waits(action v1alpha1.KubeProxyAction) {
	o.t.Helper()
	eventually(o.t, "the NodeRuleSet", func(ctx context.Context) bool {
		set := &v1alpha1.NodeRuleSet{}
		return api.Get(ctx, client.ObjectKey{Name: "n1"}, set) == nil && set.Spec.KubeProxy == action
	})
}

// TestTakeOverFromKubeProxy takes over and gives back, with the rights of config/default and
// then with those of config/takeover.
func TestTakeOverFromKubeProxy(t *testing.T) {
	deploy(t)
	o := &takesOver{t: t, config: policy("default", "n1", 0), before: kubeProxy(t)}
	o.config.Spec.KubeProxy = &v1alpha1.KubeProxyOptions{TakeOver: new(true)}
	create(t, node("n1"), o.config)
	cleanUp(t, &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	mgr, stop := startController(t)
	<-mgr.Elected()
	runs := &v1alpha1.KubeProxyStatus{Running: true, Mode: v1alpha1.KubeProxyIPVS, Leftovers: []string{"ipvs virtual servers"}}

	o.waits(v1alpha1.KubeProxyTakeOver)
	agentReports(t, runs)
	if message := o.wants(`False MissingPermission, label "", affinity false`); !strings.Contains(message, "kubectl apply --server-side -k config/takeover") {
		t.Error(message)
	}
	grantTakeover(t)
	o.wants(`False NodesPending, label "replaced", affinity true`)
	agentReports(t, &v1alpha1.KubeProxyStatus{})
	o.wants(`True Replaced, label "replaced", affinity true`)

	o.changes(`{"spec": {"kubeProxy": {"takeOver": false}}}`)
	o.waits(v1alpha1.KubeProxyGiveBack)
	o.wants(`False GivingBack, label "", affinity false`)
	agentReports(t, runs)
	o.wants(`False GivenBack, label "", affinity false`)
	after := &appsv1.DaemonSet{}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(o.before), after); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(o.before.Spec, after.Spec); diff != "" {
		t.Errorf("the DaemonSet (-before +after):\n%s", diff)
	}
	if value, ok := after.Annotations[v1alpha1.AnnotationAffinityBefore]; ok {
		t.Errorf("annotation %q", value)
	}
	o.changes(`{"spec": {"kubeProxy": null}}`)
	o.wants(`absent, label "", affinity false`)
	stop()
	config := &v1alpha1.ProxyConfig{}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(o.config), config); err != nil {
		t.Fatal(err)
	}
	if len(config.Status.Conditions) != 5 {
		t.Errorf("conditions: %+v", config.Status.Conditions)
	}
}

// TestTakeOverRights checks that the rights of config/takeover are for one label of nodes and the
// affinity of one DaemonSet.
func TestTakeOverRights(t *testing.T) {
	deploy(t)
	grantTakeover(t)
	before := kubeProxy(t)
	other := before.DeepCopy()
	other.Name, other.ResourceVersion, other.UID = "kube-proxy-other", "", ""
	if err := administrator(t).Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	cleanUp(t, other)
	create(t, node("n1"))
	for ns, want := range map[string][]string{
		"kube-system": {"get daemonsets.apps/kube-proxy", "patch daemonsets.apps/kube-proxy", "patch nodes"},
		"default":     {"patch nodes"},
	} {
		eventually(t, "the rights in "+ns, func(context.Context) bool {
			rights := rightsOf(t, ns, serviceAccount("fairlead-controller-manager"))
			rights = slices.DeleteFunc(rights, func(r string) bool { return !strings.Contains(r, "daemonsets") && r != "patch nodes" })
			return slices.Equal(rights, want)
		})
	}
	controller, err := client.New(as(serviceAccount("fairlead-controller-manager")), client.Options{Scheme: api.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		obj         client.Object
		patch, want string
	}{
		"the label":                {node("n1"), `{"metadata": {"labels": {"proxy.fairlead.dev/kube-proxy": "replaced"}}}`, ""},
		"no label":                 {node("n1"), `{"metadata": {"labels": {"proxy.fairlead.dev/kube-proxy": null}}}`, ""},
		"another label":            {node("n1"), `{"metadata": {"labels": {"proxy.fairlead.dev/kube-proxy": "replaced", "a": "b"}}}`, "the label proxy.fairlead.dev/kube-proxy of nodes only"},
		"another value":            {node("n1"), `{"metadata": {"labels": {"pool": "b"}}}`, "the label proxy.fairlead.dev/kube-proxy of nodes only"},
		"a label is removed":       {node("n1"), `{"metadata": {"labels": {"pool": null}}}`, "the label proxy.fairlead.dev/kube-proxy of nodes only"},
		"a taint":                  {node("n1"), `{"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}}`, "labels of nodes only"},
		"cordon":                   {node("n1"), `{"spec": {"unschedulable": true}}`, "labels of nodes only"},
		"an annotation of a node":  {node("n1"), `{"metadata": {"annotations": {"a": "b"}}}`, "labels of nodes only"},
		"a finalizer":              {node("n1"), `{"metadata": {"finalizers": ["example.com/a"]}}`, "labels of nodes only"},
		"the status of a node":     {node("n1"), `{"status": {"phase": "x"}}`, ""}, // is ignored
		"the affinity":             {before, `{"metadata": {"annotations": {"a": "b"}}, "spec": {"template": {"spec": {"affinity": {"nodeAffinity": {}}}}}}`, ""},
		"another image":            {before, `{"spec": {"template": {"spec": {"containers": [{"name": "kube-proxy", "image": "a"}]}}}}`, "the controller may write the DaemonSet"},
		"a volume":                 {before, `{"spec": {"template": {"spec": {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}}}}`, "the controller may write the DaemonSet"},
		"a ServiceAccount":         {before, `{"spec": {"template": {"spec": {"serviceAccountName": "a"}}}}`, "the controller may write the DaemonSet"},
		"processes of the machine": {before, `{"spec": {"template": {"spec": {"hostPID": true}}}}`, "the controller may write the DaemonSet"},
		"a command before":         {before, `{"spec": {"template": {"spec": {"initContainers": [{"name": "a", "image": "a"}]}}}}`, "the controller may write the DaemonSet"},
		"an annotation of Pods":    {before, `{"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}`, "the controller may write the DaemonSet"},
		"another DaemonSet":        {other, `{"spec": {"template": {"spec": {"affinity": {}}}}}`, `cannot patch resource "daemonsets"`},
	} {
		t.Run(name, func(t *testing.T) {
			obj := c.obj.DeepCopyObject().(client.Object)
			var err error
			// Rights and policies take effect after a moment.
			done := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
				err = controller.Patch(ctx, obj, client.RawPatch(types.MergePatchType, []byte(c.patch)), client.DryRunAll)
				return c.want == "" && err == nil || c.want != "" && err != nil && strings.Contains(err.Error(), c.want), nil
			})
			if done != nil {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
