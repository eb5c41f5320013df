// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/kubectl/connect"
)

// TestConnectivity runs `kubectl fairlead test`, and once more until Ctrl-C. It leaves nothing behind.
func TestConnectivity(t *testing.T) {
	if !*rolloutsToo {
		t.Skip("it needs the image agnhost: run it with -rollouts, after `make lab-images LAB_IMAGES=agnhost`")
	}
	var report connect.Report
	if err := answers(t.Context(), 0, &report, "test", "--timeout", "5m"); err != nil {
		t.Fatal(err)
	}
	if want := 2 * len(labNodes) * len(labNodes); !slices.Equal(report.Nodes, labNodes) || len(report.Results) != want {
		t.Errorf("%d connections, want %d: %+v", len(report.Results), want, report)
	}
	wantNoTest(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(repo, "bin", "kubectl-fairlead"), "test", "--timeout", "5m")
	errOut, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(errOut)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "testing in the namespace") {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("after Ctrl-C: %v", err)
	}
	wantNoTest(t)
}

// wantNoTest checks that no namespace of a test is left.
func wantNoTest(t *testing.T) {
	t.Helper()
	var list corev1.NamespaceList
	if err := api.List(t.Context(), &list, client.MatchingLabels{"app.kubernetes.io/managed-by": "kubectl-fairlead"}); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) > 0 {
		t.Errorf("%d namespaces are left", len(list.Items))
	}
}
