// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
)

// Cleanup deletes our chains and the jumps to them, in both variants and families.
func (d *Dataplane) Cleanup(ctx context.Context) error {
	d.known = false
	var errs []error
	for _, t := range findTools(ctx, d.netns) {
		for _, v6 := range []bool{false, true} {
			if err := deleteAll(ctx, t, v6, tables...); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", t, err))
			}
		}
	}
	return errors.Join(errs...)
}

// deleteAll deletes our chains in some tables, and the jumps to them.
func deleteAll(ctx context.Context, k kernel, v6 bool, tables ...string) error {
	h := newHeld()
	for _, table := range tables {
		if err := h.read(ctx, k, v6, table); err != nil {
			return err
		}
	}
	s := newScript()
	for id := range h.sums {
		s.remove(id)
	}
	for j, n := range h.jumps {
		for range n {
			s.delete(j)
		}
	}
	if s.ops == 0 {
		return nil
	}
	return k.restore(ctx, v6, s.text())
}
