// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/flows"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Kernel is what the clean-up needs of a kernel's connection tracking. It is
// used by one goroutine at a time.
type Kernel interface {
	// Dump calls each for the entries that a filter selects, as they arrive: there
	// may be millions. A kernel that cannot filter hands over others as well, and
	// one that has to start again hands over some of them twice. An entry is valid
	// until each returns.
	Dump(ctx context.Context, f Filter, each func(Entry)) error

	// Delete deletes this entry, and as far as the kernel can tell them apart no
	// newer one of the same addresses.
	// It says false if the entry is not there any more.
	Delete(e Entry) (bool, error)

	// Addresses returns the node's own addresses.
	Addresses() ([]netip.Addr, error)
}

// Filter selects entries by what their clients have sent. It saves work and does
// not decide: which entries are stale does not depend on it.
type Filter struct {
	Family   corev1.IPFamily
	Protocol model.Protocol

	// Address and Port are where the packets went to; the zero values: anywhere.
	// With Reverse they are where the packets came from.
	Address netip.Addr
	Port    uint16
	Reverse bool

	// Unanswered selects only entries that have seen no packet of the other side.
	Unanswered bool
}

// Entry is what the kernel remembers of a flow.
type Entry struct {
	flows.Flow
	name name
}

// name is what the kernel calls an entry, in its own words.
type name struct{ tuple, zone, id []byte }
