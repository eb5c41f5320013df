// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

// HealthPorts is the number of ports that a table holds health checks for.
func (t *Table) HealthPorts() int { return len(t.health.claims) }

// CostOf is what a change of a frontend costs in a slice.
var CostOf = comparison{known: map[[2]list]int{}}.costOf
