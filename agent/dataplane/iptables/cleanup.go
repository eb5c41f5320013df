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
// sets the sysctl back. What is left of the tables of the nft variant goes, too, if it
// does nothing: iptables makes it again when it is needed. Where there are no programs
// of a variant there is nothing that we could have made with them.
func (d *Dataplane) Cleanup(ctx context.Context) error {
	var errs []error
	for _, t := range d.findTools(ctx) {
		d.kernel = t
		err := cleanUp(ctx, t, d.localhost)
		if err == nil && t.variant == variantNFT {
			// To ask for a table is to make it, and nobody but us may have asked.
			err = d.nft.RemoveIdleTables(ctx, tables...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t, err))
		}
	}
	d.kernel, d.known = nil, false
	return errors.Join(errs...)
}

// cleanUp deletes what is ours of a variant: first the rules, then the guard with the
// sysctl.
func cleanUp(ctx context.Context, k kernel, ports *localhost.Ports) error {
	if err := deleteRules(ctx, k); err != nil {
		return err
	}
	return ports.Cleanup(ctx)
}

// deleteRules deletes all that is ours, in both families, but the guard.
func deleteRules(ctx context.Context, k kernel) error {
	for _, v6 := range []bool{false, true} {
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

// holds returns what is ours in a family, but the guard.
func holds(ctx context.Context, k kernel, v6 bool) (*held, error) {
	h := newHeld()
	err := ignoreMissing(h.read(ctx, k, v6, allTables))
	h.leaveOut(tableMangle)
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

// removal returns what deletes chains and jumps.
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
