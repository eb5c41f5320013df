// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/conformance"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Subject{
		Mode:            Mode,
		EndsWithProcess: "sockets",
		ReadsAtOnce:     "it reads routes only, in milliseconds",
		OneEndpoint:     1, // and none in the kernel
		OneService:      3, // frontend, socket, route
		Limits: map[dataplane.Reason][]string{
			reasonSCTP:    {"10.96.0.3:80/sctp"},
			reasonSources: {"192.0.2.7:80/tcp"},
		},
		Damages: map[string]conformance.Damage{
			"a route is deleted":       {Command: "ip route del local 10.96.0.1 table local proto 173"},
			"a route is added":         {Command: "ip route add local 10.96.0.99 dev lo table local proto 173 metric 1073741824"},
			"all routes are deleted":   {Command: "ip -4 route flush table local proto 173; ip -6 route flush table local proto 173"},
			"the blackhole is deleted": {Command: "ip route del blackhole 10.96.0.0/16 proto 173"},
		},
	})
}
