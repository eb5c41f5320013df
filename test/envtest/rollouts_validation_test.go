// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import "maps"

func init() { maps.Copy(proxyConfigCases, rolloutCases) }

// rolloutCases are the cases of spec.rollout.
var rolloutCases = map[string]proxyConfigCase{
	"stages of a staged rollout": {
		`spec: {rollout: {strategy: Staged, stages: [{name: canary, nodes: 1}]}}`,
		`spec: {rollout: {stages: [{name: canary, nodes: 1}]}}`,
		"`stages` has no effect with `strategy: AllAtOnce`: remove it, or set `strategy: Staged`",
	},
	"a staged rollout is paused": {
		`spec: {rollout: {strategy: Staged, paused: true}}`,
		`spec: {rollout: {paused: true}}`,
		"`paused` has no effect with `strategy: AllAtOnce`: remove it, or set `strategy: Staged`",
	},
	"unavailable nodes": {
		`spec: {rollout: {maxUnavailable: 100%}}`,
		`spec: {rollout: {maxUnavailable: 0}}`,
		"`maxUnavailable` must be a number of nodes, at least 1, or a percentage such as 10%",
	},
	"unavailable nodes, percentage": {
		`spec: {rollout: {maxUnavailable: 5}}`,
		`spec: {rollout: {maxUnavailable: 0%}}`,
		"`maxUnavailable` must be a number of nodes, at least 1, or a percentage such as 10%",
	},
	"failed nodes": {
		`spec: {rollout: {failureThreshold: 1}}`,
		`spec: {rollout: {failureThreshold: 0}}`,
		"`failureThreshold` must be a number of nodes, at least 1, or a percentage such as 10%",
	},
	"nodes of a stage": {
		`spec: {rollout: {strategy: Staged, stages: [{name: canary, nodes: 10%}]}}`,
		`spec: {rollout: {strategy: Staged, stages: [{name: canary, nodes: 0}]}}`,
		"`nodes` must be a number of nodes, at least 1, or a percentage such as 10%",
	},
	"percentage of a stage": {
		`spec: {rollout: {strategy: Staged, stages: [{name: canary, maxUnavailable: 1}]}}`,
		`spec: {rollout: {strategy: Staged, stages: [{name: canary, maxUnavailable: few}]}}`,
		"`maxUnavailable` must be a number of nodes, at least 1, or a percentage such as 10%",
	},
	"unavailable nodes of a stage": {
		`spec: {rollout: {strategy: Staged, stages: [{name: canary, maxUnavailable: 1%}]}}`,
		`spec: {rollout: {strategy: Staged, stages: [{name: canary, maxUnavailable: -1}]}}`,
		"`maxUnavailable` must be a number of nodes, at least 1, or a percentage such as 10%",
	},
	"name of a stage": {
		`spec: {rollout: {strategy: Staged, stages: [{name: most}]}}`,
		`spec: {rollout: {strategy: Staged, stages: [{name: rest}]}}`,
		"the last stage is called rest: choose another `name`",
	},
}
