// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/cases"
	"github.com/fairlead-proxy/fairlead/test/cases/kernel"
)

// TestIPTables runs the cases with both variants of iptables in parallel, because it
// mostly waits.
func TestIPTables(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	program := agentProgram(t)
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "lock")) // the network namespace has its own rules
	for variant, runner := range map[string]cases.Runner{"legacy": cases.IPTablesLegacy, "nft": cases.IPTablesNFT} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			network, err := kernel.NewNetwork()
			if err != nil {
				t.Fatal(err)
			}
			defer network.Close()
			if err := network.UseIPTables(variant); err != nil {
				t.Fatal(err)
			}
			agent, err := network.StartAgent(program, t.TempDir(), v1alpha1.ModeIPTables)
			if err != nil {
				t.Fatal(err)
			}
			runOn(t, network, agent, runner)
		})
	}
}
