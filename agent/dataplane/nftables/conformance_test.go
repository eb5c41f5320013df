// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/conformance"
	"github.com/fairlead-proxy/fairlead/agent/kernel/routelocalnet"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Subject{
		Mode:        func() dataplane.Mode { return Mode(&routelocalnet.Owner{}) },
		OneEndpoint: 2,
		OneService:  20,
		WithoutIPv6: withoutIPv6,
		Damages: map[string]conformance.Damage{
			"an endpoint is deleted":      {Command: "nft flush map ip fairlead endpoints"},
			"a table is flushed":          {Command: "nft flush table ip fairlead"},
			"a table is deleted":          {Command: "nft delete table ip6 fairlead"},
			"the guard is deleted":        {Command: "nft delete table ip fairlead-localhost", Uninspected: "it is for node ports on localhost"},
			"the table goes for a moment": {Command: "nft delete table ip fairlead; nft add table ip fairlead"},
			"a rule is added":             {Command: "nft add rule ip fairlead prerouting accept"},
		},
	})
}

// TestInterruptionsBetweenBatches makes each change in as many batches as possible.
func TestInterruptionsBetweenBatches(t *testing.T) {
	conformance.Interruptions(t, conformance.Subject{Mode: func() dataplane.Mode {
		users := &routelocalnet.Owner{}
		m := Mode(users)
		m.Open = func(e dataplane.Env) (dataplane.Dataplane, error) {
			return New(Options{NetNS: e.NetNS, Log: e.Log, Sysctls: e.Sysctls, Localhost: users, BatchSize: 1})
		}
		return m
	}})
}

// withoutIPv6 simulates a kernel without IPv6 tables, because all current kernels have
// them.
func withoutIPv6(e dataplane.Env) (dataplane.Dataplane, error) {
	opened, err := Mode(&routelocalnet.Owner{}).Open(e)
	if err != nil {
		return nil, err
	}
	d := opened.(*Dataplane)
	try := d.tables.TryFamily
	d.tables.TryFamily = func(ctx context.Context, family byte) error {
		if family == unix.NFPROTO_IPV6 {
			return unix.EAFNOSUPPORT
		}
		return try(ctx, family)
	}
	return d, nil
}

func BenchmarkLook(b *testing.B) {
	conformance.BenchmarkLook(b, conformance.Subject{Mode: func() dataplane.Mode { return Mode(&routelocalnet.Owner{}) }})
}
