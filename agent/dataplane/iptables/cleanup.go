// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/localhost"
)

// Cleanup deletes our chains and the jumps to them, in both variants and families, and
// sets the sysctl back. Tables of the nft variant that do nothing are deleted too:
// iptables adds them again when needed. A variant without programs cannot have rules of
// ours.
func (d *Dataplane) Cleanup(ctx context.Context) error {
	found, err := d.findTools(ctx)
	errs := []error{err}
	for _, t := range found {
		d.kernel = t
		err := cleanUp(ctx, t, d.localhost)
		if err == nil && t.variant == variantNFT {
			// Listing a table adds it, and perhaps only we have listed it.
			err = d.nft.RemoveIdleTables(ctx, tables...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t, err))
		}
	}
	d.kernel, d.known, d.ours, d.found = nil, false, false, 0
	return errors.Join(errs...)
}

// cleanUp deletes our rules of a variant: first the rules, then the guard with the sysctl.
func cleanUp(ctx context.Context, k kernel, ports *localhost.Ports) error {
	if err := deleteRules(ctx, k); err != nil {
		return err
	}
	return ports.Cleanup(ctx)
}

// deleteRules deletes all our rules, in both families, except the guard. It reads them
// twice: a program that gets an error from the kernel while it lists the rules may print
// fewer, and succeed.
func deleteRules(ctx context.Context, k kernel) error {
	for _, v6 := range []bool{false, true, false, true} {
		h, err := holds(ctx, k, v6)
		if err != nil {
			return err
		}
		if err := deleteAll(ctx, k, v6, h); err != nil {
			return err
		}
	}
	return nil
}

// holds returns our rules in a family, except the guard.
func holds(ctx context.Context, k kernel, v6 bool) (*held, error) {
	h := newHeld()
	err := ignoreMissing(h.read(ctx, k, v6, allTables))
	h.leaveOutMangle()
	return h, err
}

// deleteAll deletes chains and jumps.
func deleteAll(ctx context.Context, k kernel, v6 bool, h *held) error {
	s := removal(h)
	if s.ops == 0 {
		return nil
	}
	return k.restore(ctx, v6, s)
}

// removal returns a script that deletes chains and jumps.
func removal(h *held) *script {
	s := newScript()
	for id := range h.sums {
		s.remove(id)
	}
	for j, n := range h.jumps {
		for range n {
			s.delete(j)
		}
	}
	return s
}
