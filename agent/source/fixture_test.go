// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
)

// testNodeRules are the rules of a node in one of their generations.
func testNodeRules(generation int64) *NodeRules {
	return &NodeRules{UID: "uid", Generation: generation, Spec: agenttest.NodeSpec()}
}
