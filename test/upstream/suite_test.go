// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package upstream

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
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
	proxyFlag = flag.String("proxy", "fairlead", "what proxies the Services: fairlead or kube-proxy")
	modeFlag  = flag.String("mode", "", "the mode of it; empty: one after the other, all that the nodes can")
	suiteFlag = flag.String("suite", "all", "the cases: all, conformance, or a regular expression for their names")
)

var (
	config    = lab.Default()
	labBinary = filepath.Join(repo, "bin", "lab")
	api       client.Client
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "upstream:", err)
		code = 1
	}
	os.Exit(code)
}

// run runs the tests on a lab that is running, or on one that it starts and stops.
func run(m *testing.M) (code int, err error) {
	if exec.Command(labBinary, "status").Run() != nil {
		if err := command(labBinary, "up", "--bin", filepath.Join(repo, "bin")); err != nil {
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
	if api, err = connect(); err != nil {
		return 0, err
	}
	return m.Run(), nil
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
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return client.New(restConfig, client.Options{Scheme: scheme})
}

// clusterDNS waits until cluster DNS can be reached as a Service.
func clusterDNS() error {
	return command("kubectl", "-n", "kube-system", "wait", "deployment/coredns", "--for=condition=Available", "--timeout=3m")
}

// nodeNames returns the nodes of the lab.
func nodeNames(ctx context.Context) ([]string, error) {
	var nodes corev1.NodeList
	if err := api.List(ctx, &nodes); err != nil {
		return nil, err
	}
	var names []string
	for _, node := range nodes.Items {
		names = append(names, node.Name)
	}
	return names, nil
}
