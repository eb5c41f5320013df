// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Mode returns the mode IPVS.
func Mode() dataplane.Mode {
	return dataplane.Mode{
		Name: v1alpha1.ModeIPVS, AutoRank: 2, Kind: dataplane.LoadBalancer, MaxEndpoints: maxReals, MaxStep: maxStep, Parse: parse,
		Inherits:  v1alpha1.KubeProxyIPVS, // virtual servers, with addresses on the same device
		Scheduler: func(o dataplane.Options) string { return settingsOf(o).Scheduler },
		Open: func(e dataplane.Env) (dataplane.Dataplane, error) {
			return New(Options{NetNS: e.NetNS, Sysctls: e.Sysctls, Log: e.Log})
		},
	}
}
