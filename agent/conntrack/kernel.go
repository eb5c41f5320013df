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

// Kernel is the connection tracking of a kernel. One goroutine at a time uses it.
type Kernel interface {
	// Dump calls each for the entries that a filter selects, as they arrive: there
	// may be millions. A kernel without filters returns other entries as well, and a
	// dump that is restarted returns some entries twice. An entry is valid until each
	// returns.
	Dump(ctx context.Context, f Filter, each func(Entry)) error

	// Delete deletes this entry; where the kernel has IDs of entries, not a newer one
	// with the same addresses. False: the entry does not exist any more.
	Delete(e Entry) (bool, error)

	// Addresses returns the node's own addresses.
	Addresses() ([]netip.Addr, error)
}

// Filter selects entries by the original direction. It only saves work: which entries
// are stale does not depend on it.
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

// Entry is a conntrack entry.
type Entry struct {
	flows.Flow
	name name
}

// name identifies an entry, in the kernel's encoding.
type name struct{ tuple, zone, id []byte }
