// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package labtest has what the suites of tests on a lab share: the lab, its API, and waiting.
package labtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab"
)

// Repo is the root of the repository, seen from a package directly below test, where its tests run.
const Repo = "../.."

// Binary is the lab's program.
var Binary = filepath.Join(Repo, "bin", "lab")

// Main runs a suite, and ends the process with its code. An error is printed after the suite's name, and
// fails it.
func Main(name string, run func() (code int, err error)) {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		code = 1
	}
	os.Exit(code)
}

// Start has kubectl, and the client that it returns, reach a lab that is running, or one that it starts with
// arguments of lab up, and stop stops.
func Start(config lab.Config, args ...string) (api client.WithWatch, stop func() error, err error) {
	stop = func() error { return nil }
	if !IsRunning() {
		if err := Up(args...); err != nil {
			return nil, nil, err
		}
		stop = Down
	}
	err = UseKubectl(config)
	if err == nil {
		api, err = Connect(config, "")
	}
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return api, stop, nil
}

// IsRunning says whether a lab runs.
func IsRunning() bool { return exec.Command(Binary, "status").Run() == nil }

// Up starts the lab, with more arguments of lab up.
func Up(args ...string) error {
	return Command(Binary, append([]string{"up", "--bin", filepath.Join(Repo, "bin")}, args...)...)
}

// Down stops it.
func Down() error { return Command(Binary, "down") }

// Command runs a program, and shows its output.
func Command(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %v: %w", name, args, err)
	}
	return nil
}

// UseKubectl has kubectl reach the lab from now on.
func UseKubectl(config lab.Config) error {
	return errors.Join(os.Setenv("KUBECONFIG", config.Kubeconfig()), os.Setenv("KUBECACHEDIR", config.KubectlCache()))
}

// Connect returns a client that acts as a user; empty: as an admin.
func Connect(config lab.Config, user string) (client.WithWatch, error) {
	restConfig, err := clientcmd.BuildConfigFromFlags("", config.Kubeconfig())
	if err != nil {
		return nil, err
	}
	restConfig.QPS, restConfig.Impersonate.UserName = -1, user
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return client.NewWithWatch(restConfig, client.Options{Scheme: scheme})
}

// NewNamespace creates a namespace whose name begins with a prefix, and deletes it after the test.
func NewNamespace(t *testing.T, api client.Client, prefix string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix}}
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

// IsReady says whether a Pod has the condition Ready.
func IsReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Eventually polls until ok returns no error. When patience ends, it returns the last one.
func Eventually(ctx context.Context, patience time.Duration, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}
