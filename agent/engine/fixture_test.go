// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/source"
)

// testNodeRules are the rules of a node in one of their generations.
func testNodeRules(generation int64) *source.NodeRules {
	return &source.NodeRules{UID: "uid", Generation: generation, Spec: agenttest.NodeSpec()}
}
