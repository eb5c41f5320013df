// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// testNodeRules are the rules of a node in one of their generations.
func testNodeRules(generation int64) *source.NodeRules {
	return &source.NodeRules{UID: "uid", Generation: generation, Spec: agenttest.NodeSpec()}
}

// good is a snapshot without problems.
func good() Snapshot {
	return Snapshot{Node: testNodeRules(1), FromAPI: true,
		Programmed: &Programmed{Node: testNodeRules(1), Mode: v1alpha1.ModeNFTables, Digest: 7, Slices: 1}}
}

// with is a good snapshot with some problems.
func with(problems ...Problem) Snapshot {
	s := good()
	s.Problems = problems
	return s
}
