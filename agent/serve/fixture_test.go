// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// testNodeRules are the rules of a node in one of their generations.
func testNodeRules(generation int64) *source.NodeRules {
	return &source.NodeRules{UID: "uid", Generation: generation, Spec: agenttest.NodeSpec()}
}

// good is a snapshot without problems.
func good() report.Snapshot {
	return report.Snapshot{Node: testNodeRules(1), FromAPI: true,
		Programmed: &report.Programmed{Node: testNodeRules(1), Mode: v1alpha1.ModeNFTables, Digest: 7, Slices: 1}}
}
