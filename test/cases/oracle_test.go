// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases_test

import (
	"os"
	"testing"

	"github.com/fairlead-proxy/fairlead/test/cases"
	"github.com/fairlead-proxy/fairlead/test/cases/kernel"
)

// TestOracle runs the cases with kube-proxy in the agent's place, in two of its
// modes. Where it differs, the case must say so, and why.
func TestOracle(t *testing.T) {
	program := os.Getenv("KUBE_PROXY")
	if program == "" {
		t.Skip("KUBE_PROXY does not name the program of kube-proxy: run `make test-oracle`")
	}
	for mode, runner := range map[string]cases.Runner{"nftables": cases.KubeProxyNFTables, "iptables": cases.KubeProxyIPTables} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel() // most of the time it waits
			network, err := kernel.NewNetwork()
			if err != nil {
				t.Fatal(err)
			}
			defer network.Close()
			proxy, err := network.NewKubeProxy(program, t.TempDir(), mode)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := proxy.Stop(); err != nil {
					t.Error(err)
				}
				if log, err := os.ReadFile(proxy.LogFile()); t.Failed() && err == nil {
					t.Logf("the end of kube-proxy's log:\n%s", log[max(0, len(log)-4000):])
				}
			}()
			runAll(t, runner, func(t *testing.T, c cases.Case) string {
				if err := network.Run(proxy, c.KubeProxy(runner)); err != nil {
					t.Error(err)
				}
				return ""
			})
		})
	}
}
