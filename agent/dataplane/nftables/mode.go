// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/routelocalnet"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Mode returns the mode NFTables. The users are those of the node, see package
// localhost.
func Mode(users *routelocalnet.Owner) dataplane.Mode {
	failures := newFailures()
	return dataplane.Mode{
		Name: v1alpha1.ModeNFTables, AutoRank: 1, Kind: dataplane.NAT,
		Open: func(e dataplane.Env) (dataplane.Dataplane, error) {
			return New(Options{NetNS: e.NetNS, Log: e.Log, Sysctls: e.Sysctls, Localhost: users, Failures: failures})
		},
		Collectors: []prometheus.Collector{failures},
	}
}

// newFailures returns a counter with the name that kube-proxy uses.
func newFailures() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
		Help: "Sync attempts in mode NFTables that were rejected by the kernel; each was tried again.",
	})
}
