// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package cni has the tests of Fairlead on nodes whose Pods a CNI plugin connects.
package cni

import (
	"context"
	"errors"
	"flag"
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

// repo is the root of the repository, seen from this package.
const repo = "../.."

// patience is how long nodes may take until they show a change.
const patience = 2 * time.Minute

var (
	config    = lab.Default()
	labBinary = filepath.Join(repo, "bin", "lab")
	api       client.Client
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cni:", err)
		code = 1
	}
	os.Exit(code)
}

// run runs the tests on a lab that is running, or on one that it starts and stops.
func run(m *testing.M) (code int, err error) {
	if config.CNI == "" {
		return 0, errors.New("FAIRLEAD_LAB_CNI names no plugin: run `make test-cni`")
	}
	if exec.Command(labBinary, "status").Run() != nil {
		if err := command(labBinary, "up", "--bin", filepath.Join(repo, "bin")); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, command(labBinary, "down")) }()
	}
	os.Setenv("KUBECONFIG", config.Kubeconfig())
	os.Setenv("KUBECACHEDIR", config.KubectlCache())
	if api, err = connect(); err != nil {
		return 0, err
	}
	if err := install(); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// install installs Fairlead, as a user does.
func install() error {
	for _, args := range [][]string{
		{"apply", "--server-side", "-k", filepath.Join(repo, "config", "default")},
		{"apply", "-f", filepath.Join(repo, "config", "samples", "proxyconfig.yaml")},
		{"patch", "proxyconfig/default", "--type=merge", "--patch", `{"spec": {"rollout": {"strategy": "AllAtOnce"}}}`},
		{"wait", "proxyconfig/default", "--for=condition=Available", "--timeout=3m"},
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

// eventually polls until ok returns no error, or patience ends.
func eventually(ctx context.Context, ok func() error) error {
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
		case <-time.After(100 * time.Millisecond):
		}
	}
}
