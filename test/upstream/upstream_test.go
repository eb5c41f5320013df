// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package upstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

const (
	// processes is how many cases run at once. They mostly wait: four keep two cores busy.
	processes = 4
	// timeLimit is for all cases in one mode.
	timeLimit = "90m"
)

// TestUpstream runs the cases in each mode and compares their outcomes with the list.
func TestUpstream(t *testing.T) {
	suite, err := SuiteOf(*suiteFlag)
	if err != nil {
		t.Fatal(err)
	}
	list, err := ReadExceptions()
	if err != nil {
		t.Fatal(err)
	}
	var p proxy
	switch *proxyFlag {
	case "fairlead":
		p = fairlead(t)
	case "kube-proxy":
		p = kubeProxy(t)
	default:
		t.Fatalf("no proxy %q: fairlead or kube-proxy", *proxyFlag)
	}
	t.Cleanup(func() {
		if err := p.remove(); err != nil {
			t.Error(err)
		}
	})
	modes := []string{*modeFlag}
	if *modeFlag == "" {
		if modes, err = p.modes(t.Context()); err != nil || len(modes) == 0 {
			t.Fatalf("modes %v: %v", modes, err)
		}
	}
	table := []string{VerdictHead}
	for _, mode := range modes {
		name := p.name(mode)
		t.Run(string(name), func(t *testing.T) {
			if _, known := oracles[name]; !known {
				t.Fatalf("no mode %q", mode)
			}
			if err := errors.Join(p.use(t.Context(), mode), clusterDNS()); err != nil {
				t.Fatal(err)
			}
			exceptions := list.In(name)
			began := time.Now()
			cases, err := runCases(t.Context(), name, suite, exceptions)
			if err != nil {
				t.Fatal(err)
			}
			verdict := Judge(suite, exceptions, cases)
			table = append(table, verdict.Row(name, time.Since(began)))
			for _, problem := range verdict.Problems {
				t.Error(problem)
			}
		})
	}
	t.Log("\n" + strings.Join(table, "\n"))
}

// runCases runs e2e.test in the machine outside of the cluster, and returns its report. A run with
// failures is no error.
func runCases(ctx context.Context, name Proxy, suite Suite, exceptions Exceptions) ([]Case, error) {
	dir, err := filepath.Abs(filepath.Join(labtest.Repo, "bin", "upstream", filepath.FromSlash(string(name))))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "e2e.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	e2e, err := exec.LookPath("e2e.test")
	if err != nil {
		return nil, fmt.Errorf("make test-upstream builds it: %w", err)
	}
	nodes, err := nodeNames(ctx)
	if err != nil {
		return nil, err
	}
	args := []string{"exec", "client", "--", "ginkgo", "--no-color", "--procs=" + strconv.Itoa(processes), "--timeout=" + timeLimit,
		"--focus=" + suite.Focus.String()}
	if skip := exceptions.SkipPattern(); skip != "" {
		args = append(args, "--skip="+skip)
	}
	args = append(args, e2e, "--", "--provider=skeleton", "--report-dir="+dir, "--disable-log-dump", "--allowed-not-ready-nodes=0",
		// Only the first process counts the nodes itself: in others, cases that need two would skip themselves.
		"--num-nodes="+strconv.Itoa(len(nodes)))
	fmt.Printf("running the cases with %s, see %s\n", name, log.Name())
	cmd := exec.CommandContext(ctx, labtest.Binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	runErr := cmd.Run()
	file, err := os.Open(filepath.Join(dir, "junit_01.xml"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("there is no report, see %s", log.Name()), runErr)
	}
	defer file.Close()
	return ReadReport(file)
}
