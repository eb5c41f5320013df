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
			if err := deleteAll(ctx, t, v6); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", t, err))
			}
		}
	}
	return errors.Join(errs...)
}

func deleteAll(ctx context.Context, k kernel, v6 bool) error {
	f := newFamily(v6)
	for _, table := range tables {
		if err := f.held.read(ctx, k, v6, table); err != nil {
			return err
		}
	}
	s := newScript()
	for id := range f.held.sums {
		s.remove(id)
	}
	for j, n := range f.held.jumps {
		for range n {
			s.delete(j)
		}
	}
	if s.ops == 0 {
		return nil
	}
	return k.restore(ctx, v6, s.text())
}
