// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

var _ dataplane.Inspector = (*Dataplane)(nil)

// Inspect reads the tables. What node ports on localhost need besides is not compared.
func (d *Dataplane) Inspect(ctx context.Context, desired model.Desired, look dataplane.Look) (dataplane.Inspection, error) {
	out, err := d.tables.Examine(ctx, desired, look)
	return out.Inspection, err
}
