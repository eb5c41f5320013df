// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package e2e tests Fairlead as a user runs it, on a lab that it starts, or
// uses if one is running. `make test-e2e` builds what it needs.
package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/test/lab"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// repo is the root of the repository.
const repo = labtest.Repo

var (
	config = lab.Default()
	api    client.WithWatch
)

func TestMain(m *testing.M) {
	labtest.Main("e2e", func() (int, error) { return run(m) })
}

func run(m *testing.M) (code int, err error) {
	if !labtest.IsRunning() {
		if err := labtest.Up(); err != nil {
			return 0, err
		}
		if beforeInstallation, err = readNodeStates(); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, labtest.Down()) }()
	}
	if err := labtest.UseKubectl(config); err != nil {
		return 0, err
	}
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		os.Setenv("PATH", assets+":"+os.Getenv("PATH"))
	}
	if err := install(); err != nil {
		return 0, err
	}
	if api, err = labtest.Connect(config, ""); err != nil {
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
		if err := labtest.Command("kubectl", args...); err != nil {
			return err
		}
	}
	return nil
}

const namespacePrefix = "e2e-"

// newNamespace creates a namespace and deletes it after the test.
func newNamespace(t *testing.T) string {
	t.Helper()
	return labtest.NewNamespace(t, api, namespacePrefix)
}
