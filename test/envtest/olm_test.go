// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers"
	"github.com/fairlead-proxy/fairlead/controllers/install"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
)

// permission is one of a ClusterServiceVersion.
type permission struct {
	ServiceAccountName string              `json:"serviceAccountName"`
	Rules              []rbacv1.PolicyRule `json:"rules"`
}

// installedByOLM grants what the bundle asks for to the ServiceAccounts of a namespace, as OLM
// does for an operator of all namespaces: also the namespaced permissions in all of them. It
// returns the controller's name.
func installedByOLM(t *testing.T, namespace string) (controller string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "bundle", "manifests", "fairlead.clusterserviceversion.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var csv struct {
		Spec struct {
			Install struct {
				Spec struct {
					Permissions        []permission `json:"permissions"`
					ClusterPermissions []permission `json:"clusterPermissions"`
				} `json:"spec"`
			} `json:"install"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &csv); err != nil {
		t.Fatal(err)
	}
	strategy := csv.Spec.Install.Spec
	for _, p := range append(strategy.Permissions, strategy.ClusterPermissions...) {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "olm-"}, Rules: p.Rules}
		create(t, role)
		create(t, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role.Name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: p.ServiceAccountName}},
		})
	}
	return "system:serviceaccount:" + namespace + ":fairlead-controller-manager"
}

// TestInstallUnderOLM checks that the rights that the bundle asks for are enough to create,
// watch and repair the DaemonSet and the ConfigMap, which they name.
func TestInstallUnderOLM(t *testing.T) {
	ns := namespace(t)
	cfg := as(installedByOLM(t, ns), "system:serviceaccounts", "system:serviceaccounts:"+ns)
	yes := true
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: api.Scheme(), Cache: controllers.CacheOptions(ns),
		Controller: crconfig.Controller{SkipNameValidation: &yes}, // several run in this process
		Metrics:    metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	agents := controllers.Agents{Namespace: ns, Image: "fairlead-agent:v1"}
	if err := controllers.Setup(ctx, mgr, agents); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	create(t, policy("default", "none", 0))
	key := client.ObjectKey{Namespace: ns, Name: install.Name}
	cleanUp(t, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: install.Name}})
	for _, what := range []string{"created", "created again"} {
		ds := &appsv1.DaemonSet{}
		eventually(t, "the DaemonSet is "+what, func(ctx context.Context) bool { return api.Get(ctx, key, ds) == nil })
		remove(t, ds)
	}
	eventually(t, "the addresses for the agents", func(ctx context.Context) bool {
		return api.Get(ctx, key, &corev1.ConfigMap{}) == nil
	})
}

// TestCreateByName checks that RBAC lets an identity with a right on one name create an
// object of that name by server-side apply, and no other, and by no other request.
func TestCreateByName(t *testing.T) {
	ns := namespace(t)
	user, err := client.New(as(installedByOLM(t, ns)), client.Options{Scheme: api.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	apply := func(obj client.Object) error {
		return user.Patch(t.Context(), obj, client.Apply, client.FieldOwner("test"), client.ForceOwnership) //nolint:staticcheck // of typed objects
	}
	post := func(obj client.Object) error { return user.Create(t.Context(), obj) }
	config := func(name string) client.Object {
		return &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	}
	daemonSet := func(name string) client.Object {
		labels := map[string]string{"app": name}
		return &appsv1.DaemonSet{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
			Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}}}},
		}
	}
	for name, tc := range map[string]struct {
		write func(client.Object) error
		obj   client.Object
		ok    bool
	}{
		"apply the agents' ConfigMap":   {apply, config(install.Name), true},
		"apply another ConfigMap":       {apply, config("other"), false},
		"post a ConfigMap of this name": {post, config(install.Name), false},
		"apply the agents' DaemonSet":   {apply, daemonSet(install.Name), true},
		"apply another DaemonSet":       {apply, daemonSet("other"), false},
		"post a DaemonSet of this name": {post, daemonSet(install.Name), false},
	} {
		t.Run(name, func(t *testing.T) {
			// Authorization takes effect after a moment.
			eventually(t, "the answer", func(context.Context) bool {
				err := tc.write(tc.obj.DeepCopyObject().(client.Object))
				return err == nil == tc.ok && (err == nil || apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot"))
			})
		})
	}
	cleanUp(t, config(install.Name))
	cleanUp(t, daemonSet(install.Name))
}

// TestFromTheControllersDaemonSet upgrades an installation whose DaemonSet the controller has
// applied, with the commands in CHANGELOG.md. The DaemonSet stays and is changed by a rolling
// update. Then config/default owns it: the next upgrade has no conflicts.
func TestFromTheControllersDaemonSet(t *testing.T) {
	deploy(t)
	live := func() *appsv1.DaemonSet {
		t.Helper()
		ds := &appsv1.DaemonSet{}
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: install.Name}, ds); err != nil {
			t.Fatal(err)
		}
		return ds
	}
	ours := live()
	remove(t, ours)
	old := &appsv1.DaemonSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: ours.Namespace, Name: ours.Name, Labels: map[string]string{
			"app.kubernetes.io/name": "fairlead", v1alpha1.LabelManagedBy: v1alpha1.ControllerName}},
		Spec: *ours.Spec.DeepCopy(),
	}
	pod := &old.Spec.Template.Spec
	pod.Containers[0].Image, pod.Containers[0].Args[2] = "fairlead-agent:v0.0.1", "--apiserver=https://192.0.2.1:6443"
	pod.Containers[0].VolumeMounts, pod.Volumes = pod.Containers[0].VolumeMounts[1:], pod.Volumes[1:]
	if err := administrator(t).Patch(t.Context(), old, client.Apply, ssa.FieldOwner, client.ForceOwnership); err != nil { //nolint:staticcheck // of a typed object
		t.Fatal(err)
	}
	before := live()

	file := filepath.Join(t.TempDir(), "install.yaml")
	write := func(manifests string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	manifests := kubectl(t, "kustomize", filepath.Join("..", "..", "config", "default"))
	write(manifests)
	kubectl(t, "apply", "--server-side", "--force-conflicts", "-f", file)
	minimal := filepath.Join(t.TempDir(), "minimal.yaml")
	text := "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: fairlead-agent, namespace: fairlead-system}}"
	if err := os.WriteFile(minimal, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "apply", "--server-side", "--field-manager=fairlead-controller", "-f", minimal)

	after := live()
	if after.UID != before.UID {
		t.Error("the DaemonSet is another one")
	}
	if diff := cmp.Diff(ours.Spec, after.Spec); diff != "" {
		t.Errorf("not the new DaemonSet (-want +got):\n%s", diff)
	}
	if u := after.Spec.UpdateStrategy; u.Type != appsv1.RollingUpdateDaemonSetStrategyType || u.RollingUpdate.MaxUnavailable.String() != "10%" {
		t.Errorf("the agents restart at once: %+v", u)
	}
	if diff := cmp.Diff(ours.Labels, after.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	write(strings.NewReplacer("fairlead-agent:v0.1.0", "fairlead-agent:v9", "minReadySeconds: 10", "minReadySeconds: 11").Replace(manifests))
	kubectl(t, "apply", "--server-side", "-f", file)
	if next := live(); next.Spec.Template.Spec.Containers[0].Image != "fairlead-agent:v9" || next.Spec.MinReadySeconds != 11 {
		t.Errorf("the next upgrade: %+v", next.Spec)
	}
	deploy(t)
}
