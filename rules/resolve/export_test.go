// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

import "github.com/fairlead-proxy/fairlead/rules/model"

// HealthPorts is the number of ports that a table holds health checks for.
func (t *Table) HealthPorts() int { return len(t.health.claims) }

// CostOf is what a change of a frontend costs in a slice.
func CostOf(costs Costs, old, now *model.Frontend) int {
	return comparison{Costs: costs, known: map[pair]int{}}.costOf(old, now)
}
