// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases_test

import (
	"os"
	"testing"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
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
			runOn(t, network, found{proxy, t, v1alpha1.KubeProxyMode(mode)}, runner)
		})
	}
}

// found is a kube-proxy that an agent finds before it ends: it runs, in its mode, has rules
// of both families, and serves the node.
type found struct {
	*kernel.KubeProxy
	t    *testing.T
	mode v1alpha1.KubeProxyMode
}

func (f found) Stop() error {
	got, serves, err := f.Found(f.t.Context())
	if err != nil || !serves || got == nil || !got.Running || got.Mode != f.mode || len(got.Leftovers) != 2 {
		f.t.Errorf("an agent finds %+v, which serves the node: %v, error %v", got, serves, err)
	}
	return f.KubeProxy.Stop()
}
