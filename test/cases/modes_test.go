// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/cases"
	"github.com/fairlead-proxy/fairlead/test/cases/kernel"
)

// agentProgram builds the agent, unless $FAIRLEAD_AGENT names it: in an emulator,
// building takes minutes.
func agentProgram(t *testing.T) string {
	t.Helper()
	if program := os.Getenv("FAIRLEAD_AGENT"); program != "" {
		return program
	}
	program := filepath.Join(t.TempDir(), "fairlead-agent")
	build := exec.Command("go", "build", "-o", program, "./cmd/fairlead-agent")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	return program
}

func TestNFTables(t *testing.T) { runMode(t, cases.NFTables, v1alpha1.ModeNFTables) }

func TestIPVS(t *testing.T) {
	has, err := netlink.HasFamily(t.Context(), "IPVS")
	if err != nil {
		t.Fatal(err)
	}
	if !has {
		t.Skip("needs a kernel with ip_vs: `make test-vm` has one")
	}
	runMode(t, cases.IPVS, v1alpha1.ModeIPVS)
}

func TestUserspace(t *testing.T) { runMode(t, cases.Userspace, v1alpha1.ModeUserspace) }

// runMode runs the cases on the real kernel: the real agent programs a node in a
// mode, and real packets show what happens.
func runMode(t *testing.T, runner cases.Runner, mode v1alpha1.ProxyMode) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	folder := t.TempDir()
	program := agentProgram(t)
	network, err := kernel.NewNetwork()
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	agent, err := network.StartAgent(program, folder, mode)
	if err != nil {
		t.Fatal(err)
	}
	runOn(t, network, agent, runner)
}

// proxy is what programs the node, with a log.
type proxy interface {
	kernel.Proxy
	Stop() error
	LogFile() string
}

// runOn runs the cases on a node, and ends what programs it.
func runOn(t *testing.T, network *kernel.Network, p proxy, runner cases.Runner) {
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		if log, err := os.ReadFile(p.LogFile()); t.Failed() && err == nil {
			t.Logf("the end of the proxy's log:\n%s", log[max(0, len(log)-4000):])
		}
	}()
	runAll(t, runner, func(t *testing.T, c cases.Case) string {
		if err := network.Run(p, c.For(runner)); err != nil {
			t.Error(err)
		}
		return ""
	})
}
