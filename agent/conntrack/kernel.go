// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	kernel "github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/rules/flows"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Kernel is what a Cleaner needs of a node's kernel. One goroutine at a time uses it.
type Kernel struct {
	Table Table

	// Addresses returns the node's own addresses.
	Addresses func() ([]netip.Addr, error)
}

// Table is the connection tracking of a kernel, see kernel.Table.
type Table interface {
	Dump(ctx context.Context, f kernel.Filter, each func(kernel.Entry)) error
	Delete(e kernel.Entry) (bool, error)
}

// kind is what a dump can have in common.
type kind struct {
	v6       bool
	protocol model.Protocol
}

func kindOf(key model.FrontendKey) kind { return kind{!key.Address.Is4(), key.Protocol} }

// family is the label of metrics.
func (k kind) family() corev1.IPFamily {
	if k.v6 {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// flowOf returns what flows are judged by.
func flowOf(e kernel.Entry) flows.Flow {
	return flows.Flow{Protocol: model.Protocol(e.Protocol), Source: e.Source, Destination: e.Destination,
		Endpoint: e.Endpoint, Unanswered: e.Unanswered, OtherZone: e.OtherZone}
}
