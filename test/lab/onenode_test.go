// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOneNode installs the manifests for a cluster with one node: every Pod has its place, and an upgrade of the
// controller ends.
func TestOneNode(t *testing.T) {
	m := newMachine(t)
	m.config.Nodes = 1
	m.must("up")
	m.installFairlead("single-node")
	pods, err := os.ReadFile("testdata/pods.yaml")
	if err != nil {
		t.Fatal(err)
	}
	onOne := filepath.Join(t.TempDir(), "pods.yaml")
	if err := os.WriteFile(onOne, []byte(strings.ReplaceAll(string(pods), "node-2", "node-1")), 0o600); err != nil {
		t.Fatal(err)
	}
	m.kubectl("apply", "-f", onOne)
	for _, upgrade := range []bool{false, true} {
		if upgrade {
			m.kubectl("-n", fairleadNamespace, "rollout", "restart", "deployment/fairlead-controller-manager")
		}
		m.kubectl("-n", fairleadNamespace, "rollout", "status", "deployment/fairlead-controller-manager", "--timeout=90s")
		m.wantNames()
	}
	if out := m.kubectl("get", "pods", "-A", "--no-headers", "--ignore-not-found", "--field-selector=status.phase=Pending"); out != "" {
		t.Errorf("Pods without a place:\n%s", out)
	}
}
