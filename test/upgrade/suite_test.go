// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package upgrade changes the release of Fairlead on real nodes while clients connect: from the previous one, which
// hack/previous.sh builds, to this one and back.
package upgrade

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/test/lab"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// patience is how long the cluster may take until it shows a change.
const patience = 2 * time.Minute

var (
	config = lab.Default()
	api    client.Client
)

func TestMain(m *testing.M) {
	labtest.Main("upgrade", func() (int, error) { return run(m) })
}

// run runs the tests on a lab of their own: what is installed there at first is the previous release.
func run(m *testing.M) (code int, err error) {
	if _, err := os.Stat(filepath.Join(previous.dir, "kustomization.yaml")); err != nil {
		return 0, fmt.Errorf("the previous release is not built: run `make test-upgrade`: %w", err)
	}
	if labtest.IsRunning() {
		return 0, errors.New("a lab is running: `bin/lab down` stops it")
	}
	if err := labtest.Up(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, labtest.Down()) }()
	if err := labtest.UseKubectl(config); err != nil {
		return 0, err
	}
	if api, err = labtest.Connect(config, ""); err != nil {
		return 0, err
	}
	return m.Run(), nil
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
	if err := labtest.Eventually(t.Context(), patience, ok); err != nil {
		t.Fatalf("not within %v: %v", patience, err)
	}
}
