// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Mode returns the mode Userspace. All its Dataplanes share the connections of the
// process. Auto never chooses it: other modes forward packets, which costs less.
func Mode() dataplane.Mode {
	connections := NewConnections()
	return dataplane.Mode{
		Name: v1alpha1.ModeUserspace, Kind: dataplane.Proxy,
		Open: func(e dataplane.Env) (dataplane.Dataplane, error) {
			return New(Options{NetNS: e.NetNS, Sysctls: e.Sysctls, Connections: connections, Log: e.Log})
		},
		Collectors: connections.Collectors(),
		Flows:      &connections.flows,
	}
}
