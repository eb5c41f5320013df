// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"fmt"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
)

var _ dataplane.Lingerer = (*Dataplane)(nil)

// Linger deletes our chains and the jumps to them. The built-in chains of the table nat
// stay: as long as there is one, the kernel translates the packets of the connections
// that it knows.
func (d *Dataplane) Linger(ctx context.Context) error {
	d.known = false
	for _, t := range findTools(ctx, d.netns, &d.children) {
		if err := deleteRules(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	return nil
}
