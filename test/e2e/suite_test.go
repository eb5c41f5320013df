// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package e2e tests Fairlead as a user runs it, on a lab that it starts, or
// uses if one is running. `make test-e2e` builds what it needs.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab"
)

// repo is the root of the repository, seen from this package.
const repo = "../.."

var (
	config = lab.Default()
	api    client.WithWatch
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	labBinary := filepath.Join(repo, "bin", "lab")
	if exec.Command(labBinary, "status").Run() != nil {
		if err := command(labBinary, "up", "--bin", filepath.Join(repo, "bin")); err != nil {
			return 0, err
		}
		if beforeInstallation, err = readNodeStates(); err != nil {
			return 0, err
		}
		defer func() {
			if downErr := command(labBinary, "down"); downErr != nil && err == nil {
				err = downErr
			}
		}()
	}
	os.Setenv("KUBECONFIG", config.Kubeconfig())
	os.Setenv("KUBECACHEDIR", config.KubectlCache())
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		os.Setenv("PATH", assets+":"+os.Getenv("PATH"))
	}
	if err := install(); err != nil {
		return 0, err
	}
	if api, err = connect(""); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// atOnce gives changed policies to all nodes at once: only the tests of rollouts wait for soaks.
const atOnce = `"rollout": {"strategy": "AllAtOnce", "stages": null, "checks": null, "paused": null, "maxUnavailable": null,
	"failureThreshold": null, "nodeDeadlineSeconds": null, "progressDeadlineSeconds": null, "onFailure": null}`

// install installs Fairlead with the ProxyConfig of the samples.
func install() error {
	for _, args := range [][]string{
		{"apply", "--server-side", "-k", filepath.Join(repo, "config", "default")},
		{"apply", "-f", filepath.Join(repo, "config", "samples", "proxyconfig.yaml")},
		{"patch", "proxyconfig/default", "--type=merge", "--patch", `{"spec": {` + atOnce + `}}`},
		{"wait", "proxyconfig/default", "--for=condition=Available", "--timeout=90s"},
		{"wait", "proxyconfig/default", "--for=condition=Protected", "--timeout=90s"},
	} {
		if err := command("kubectl", args...); err != nil {
			return err
		}
	}
	return nil
}

func command(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %v: %w", name, args, err)
	}
	return nil
}

// connect returns a client that acts as a user; empty: as an admin.
func connect(user string) (client.WithWatch, error) {
	restConfig, err := clientcmd.BuildConfigFromFlags("", config.Kubeconfig())
	if err != nil {
		return nil, err
	}
	restConfig.QPS, restConfig.Impersonate.UserName = -1, user
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return client.NewWithWatch(restConfig, client.Options{Scheme: scheme})
}

const namespacePrefix = "e2e-"

// newNamespace creates a namespace and deletes it after the test.
func newNamespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: namespacePrefix}}
	if err := api.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Delete(context.Background(), ns); err != nil {
			t.Error(err)
		}
	})
	return ns.Name
}
