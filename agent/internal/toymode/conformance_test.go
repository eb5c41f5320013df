// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package toymode

import (
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/conformance"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Subject{
		Mode:        Mode,
		OneEndpoint: 2 * slots / 3, // each element is replaced
		OneService:  slots,
		Many:        1000, ManyReason: "it has 12 elements for each frontend",
		ReadsAtOnce: "it is a toy",
		Limits: map[dataplane.Reason][]string{
			dataplane.ReasonIPv6:      {"[::]:30080/tcp", "[fd00:96::1]:80/tcp", "[fd00:96::2]:53/udp", "[fd00:96::4]:80/tcp"},
			dataplane.ReasonLocalhost: nil,
			reasonMasquerade:          nil,
			reasonNodePort:            {"0.0.0.0:30080/tcp", "0.0.0.0:30081/tcp"},
			reasonPolicy:              {"192.0.2.7:80/tcp", "192.0.2.8:80/tcp"},
			reasonSources:             {"192.0.2.9:80/tcp", "192.0.2.10:80/tcp"},
			reasonAffinity:            {"10.96.0.6:80/tcp"},
			reasonVerdict:             {"10.96.0.4:80/tcp", "10.96.0.4:80/udp", "10.96.0.5:80/tcp"},
		},
		Damages: map[string]conformance.Damage{
			"the endpoints are deleted":   {Command: "nft flush map ip toy endpoints"},
			"an endpoint is deleted":      {Command: "nft delete element ip toy endpoints '{ tcp . 10.96.0.1 . 80 . 0 }'"},
			"the table is flushed":        {Command: "nft flush table ip toy"},
			"the table is deleted":        {Command: "nft delete table ip toy"},
			"the table goes for a moment": {Command: "nft delete table ip toy; nft add table ip toy"},
			"a rule is added":             {Command: "nft add rule ip toy prerouting accept"},
			"a set is added":              {Command: "nft add set ip toy more '{ type ipv4_addr; }'"},
		},
	})
}
