// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"fmt"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
)

var (
	_ dataplane.Tracker  = (*Dataplane)(nil)
	_ dataplane.Lingerer = (*Dataplane)(nil)
)

// tracking is a chain that no other leads to. The kernel tracks connections for its rule.
var tracking = chainID{tableNAT, prefix + "TRACKING"}

func trackingRules() []string { return []string{"-m conntrack --ctstate NEW"} }

// Track makes the chain, unless there are chains of ours. The first Sync removes it.
func (d *Dataplane) Track(ctx context.Context) error {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	for _, f := range d.families {
		h, err := holds(ctx, d.kernel, f.v6)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if len(h.sums) > 0 {
			continue
		}
		s := newScript()
		s.write(tracking, 1, trackingRules)
		if err := d.restore(ctx, f, s); err != nil {
			return err
		}
	}
	return nil
}

// Linger puts the chain in the place of all others of ours. The built-in chains of the
// table nat stay: as long as there is one, the kernel translates the packets of the
// connections that it knows.
func (d *Dataplane) Linger(ctx context.Context) error {
	d.known = false
	for _, t := range d.findTools(ctx) {
		for _, v6 := range []bool{false, true} {
			if err := onlyTracking(ctx, t, v6); err != nil {
				return fmt.Errorf("%s: %w", t, err)
			}
		}
	}
	return nil
}

func onlyTracking(ctx context.Context, k kernel, v6 bool) error {
	h, err := holds(ctx, k, v6)
	if err != nil {
		return err
	}
	delete(h.sums, tracking)
	s := removal(h)
	if s.ops == 0 {
		return nil
	}
	s.write(tracking, 1, trackingRules)
	return k.restore(ctx, v6, s)
}
