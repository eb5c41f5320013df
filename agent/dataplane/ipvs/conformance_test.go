// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/conformance"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

func TestConformance(t *testing.T) {
	keeps := map[string]string{}
	for _, p := range parameters {
		keeps[p.name] = p.why + "; others may rely on it by then"
	}
	unnoticed := "the kernel does not notify of changes in IPVS"
	settings := defaults()
	settings.ReadBack = 100 * time.Millisecond
	conformance.Run(t, conformance.Subject{
		Mode:    Mode,
		Options: settings,
		Missing: noIPVS,
		Many:    2000, ManyReason: "the kernel is asked for each virtual server at the start, in a virtual machine",
		OneEndpoint: 3,
		OneService:  12,
		Keeps:       keeps,
		Limits: map[dataplane.Reason][]string{
			dataplane.ReasonLocalhost: nil,
		},
		Damages: map[string]conformance.Damage{
			"an address is deleted":        {Command: "ip addr del 10.96.0.1/32 dev kube-ipvs0"},
			"the device is deleted":        {Command: "ip link del kube-ipvs0"},
			"the table is flushed":         {Command: "nft flush table ip fairlead"},
			"a virtual server is deleted":  {Command: "ipvsadm -D -t 10.96.0.1:80", Unnoticed: unnoticed},
			"a real server is deleted":     {Command: "ipvsadm -d -t 10.96.0.1:80 -r 10.244.1.2:8080", Unnoticed: unnoticed},
			"all virtual servers are gone": {Command: "ipvsadm -C", Unnoticed: unnoticed},
		},
	})
}

func noIPVS() string {
	if has, err := netlink.HasFamily(context.Background(), "IPVS"); err == nil && !has {
		return "kernel with ip_vs: `make test-vm` has one"
	}
	return ""
}
