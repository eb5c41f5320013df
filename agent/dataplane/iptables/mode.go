// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/routelocalnet"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Mode returns the mode IPTables. The users are those of the node, see package
// localhost.
func Mode(users *routelocalnet.Owner) dataplane.Mode {
	return dataplane.Mode{
		Name: v1alpha1.ModeIPTables, AutoRank: 3, Kind: dataplane.NAT,
		MaxEndpoints: maxEndpoints, MaxStep: maxStep, RewritesEndpoints: true,
		Open: func(e dataplane.Env) (dataplane.Dataplane, error) {
			return New(Options{NetNS: e.NetNS, Log: e.Log, Sysctls: e.Sysctls, Localhost: users})
		},
	}
}
