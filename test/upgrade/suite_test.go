// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package upgrade changes the release of Fairlead on real nodes while clients connect: from the previous one, which
// hack/previous.sh builds, to this one and back.
package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab"
)

const (
	// repo is the root of the repository, seen from this package.
	repo = "../.."
	// patience is how long the cluster may take until it shows a change.
	patience = 2 * time.Minute
)

var (
	config = lab.Default()
	api    client.Client
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "upgrade:", err)
		code = 1
	}
	os.Exit(code)
}

// run runs the tests on a lab of their own: what is installed there at first is the previous release.
func run(m *testing.M) (code int, err error) {
	if _, err := os.Stat(filepath.Join(previous.dir, "kustomization.yaml")); err != nil {
		return 0, fmt.Errorf("the previous release is not built: run `make test-upgrade`: %w", err)
	}
	labBinary := filepath.Join(repo, "bin", "lab")
	if exec.Command(labBinary, "status").Run() == nil {
		return 0, errors.New("a lab is running: `bin/lab down` stops it")
	}
	if err := command(labBinary, "up", "--bin", filepath.Join(repo, "bin")); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, command(labBinary, "down")) }()
	os.Setenv("KUBECONFIG", config.Kubeconfig())
	os.Setenv("KUBECACHEDIR", config.KubectlCache())
	if api, err = connect(); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func connect() (client.Client, error) {
	restConfig, err := clientcmd.BuildConfigFromFlags("", config.Kubeconfig())
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	return client.New(restConfig, client.Options{Scheme: scheme})
}

func command(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %v: %w", name, args, err)
	}
	return nil
}

func kubectl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("kubectl", args...).CombinedOutput(); err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
}

// eventually polls until ok returns no error, and fails the test with the last error when patience ends.
func eventually(t *testing.T, ok func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %v", patience, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
