// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

// Node is what a node of a ProxyConfig says of its revision.
type Node struct {
	// Ready says that the node is ready: one that is not owes no report.
	Ready bool

	// Silent says that the agent does not report.
	Silent bool

	// Reported says that the agent has reported at all.
	Reported bool

	// Applied is the revision of this ProxyConfig that is programmed; empty: none is.
	Applied string

	// Degraded says that the agent reports a problem.
	Degraded bool
}

// Stable returns the revision that all nodes have programmed and none has a problem with. While
// there is none, it stays the one before.
func Stable(before string, nodes []Node) string {
	common := ""
	for _, n := range nodes {
		switch {
		case !n.Ready || !n.Reported && !n.Silent:
			continue
		case n.Silent || n.Degraded || n.Applied == "" || common != "" && n.Applied != common:
			return before
		}
		common = n.Applied
	}
	if common == "" {
		return before
	}
	return common
}
