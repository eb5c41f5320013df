// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Helm installs, changes, and removes a release in a cluster of its own. What it renders is compared
// with config/ by `make verify`.
func TestChart(t *testing.T) {
	cfg, kubeconfig := ownCluster(t)
	admin, err := client.New(cfg, client.Options{Scheme: api.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	helm := helmWith(t, kubeconfig)
	must(t, admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}}))

	helm("install", "fairlead", chart, "--set", "proxyConfig.create=true,proxyConfig.spec.mode=NFTables")
	controller := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "fairlead-controller-manager"}}
	agent := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "fairlead-agent"}}
	policy := &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	installed := []client.Object{controller, agent, policy}
	for _, obj := range installed {
		must(t, admin.Get(t.Context(), client.ObjectKeyFromObject(obj), obj))
	}
	if policy.Spec.Mode != v1alpha1.ModeNFTables {
		t.Errorf("the mode is %s", policy.Spec.Mode)
	}

	helm("upgrade", "fairlead", chart, "--reuse-values", "--set", "proxyConfig.spec.mode=IPTables,agent.image.tag=v9")
	for _, obj := range installed {
		must(t, admin.Get(t.Context(), client.ObjectKeyFromObject(obj), obj))
	}
	if image := agent.Spec.Template.Spec.Containers[0].Image; policy.Spec.Mode != v1alpha1.ModeIPTables || image != "fairlead-agent:v9" {
		t.Errorf("after the upgrade the mode is %s, and the agent's image %s", policy.Spec.Mode, image)
	}

	helm("rollback", "fairlead", "1")
	must(t, admin.Get(t.Context(), client.ObjectKeyFromObject(policy), policy))
	if policy.Spec.Mode != v1alpha1.ModeNFTables {
		t.Errorf("after the rollback the mode is %s", policy.Spec.Mode)
	}

	helm("uninstall", "fairlead")
	for _, obj := range installed {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); !apierrors.IsNotFound(err) && obj.GetDeletionTimestamp().IsZero() {
			t.Errorf("%T %s is left: %v", obj, obj.GetName(), err)
		}
	}
	// The CRDs stay, and with them what others have created.
	must(t, admin.List(t.Context(), &v1alpha1.ProxyConfigList{}))
}

const chart = "../../charts/fairlead"

// ownCluster starts an apiserver for a test that removes what the others share.
func ownCluster(t *testing.T) (cfg *rest.Config, kubeconfig string) {
	t.Helper()
	env := &envtest.Environment{ControlPlaneStartTimeout: 2 * time.Minute, ControlPlaneStopTimeout: time.Minute}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	cfg, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, env.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return cfg, kubeconfig
}

// helmWith returns a function that runs Helm, with folders of its own.
func helmWith(t *testing.T, kubeconfig string) func(args ...string) {
	t.Helper()
	path, err := exec.Command("../../hack/helm.sh").Output()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	return func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), strings.TrimSpace(string(path)),
			append(args, "--namespace", systemNamespace, "--kubeconfig", kubeconfig)...)
		cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
