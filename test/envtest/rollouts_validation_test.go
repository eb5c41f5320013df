// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import "maps"

func init() { maps.Copy(proxyConfigCases, rolloutCases) }

// rolloutCases are the cases of spec.rollout.
var rolloutCases = map[string]proxyConfigCase{
	"stages of a staged rollout": {
		`spec: {rollout: {strategy: Staged, stages: [{name: canary, nodes: 1}]}}`,
		`spec: {rollout: {strategy: AllAtOnce, stages: [{name: canary, nodes: 1}]}}`,
		"`stages` has no effect with `strategy: AllAtOnce`: remove it, or set `strategy: Staged`",
	},
	"a staged rollout is paused": {
		`spec: {rollout: {strategy: Staged, paused: true}}`,
		`spec: {rollout: {strategy: AllAtOnce, paused: true}}`,
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
	"checks of a staged rollout": {
		`spec: {rollout: {strategy: Staged, checks: [{name: dns, service: kube-system/kube-dns, port: 53, failureLimit: 0}]}}`,
		`spec: {rollout: {strategy: AllAtOnce, checks: [{name: dns, service: kube-system/kube-dns, port: 53}]}}`,
		"`checks` has no effect with `strategy: AllAtOnce`: remove it, or set `strategy: Staged`",
	},
	"Service of a check": {
		`spec: {rollout: {strategy: Staged, checks: [{name: dns, service: 1st/dns, port: 53}]}}`,
		`spec: {rollout: {strategy: Staged, checks: [{name: dns, service: kube-dns, port: 53}]}}`,
		"`service` must be a namespace and a name, such as kube-system/kube-dns",
	},
	"no address as a check's Service": {
		`spec: {rollout: {strategy: Staged, checks: [{name: dns, service: a/b, port: 53}]}}`,
		`spec: {rollout: {strategy: Staged, checks: [{name: dns, service: 10.96.0.10/32, port: 53}]}}`,
		"`service` must be a namespace and a name, such as kube-system/kube-dns",
	},
	"a check has a Service": {
		`spec: {rollout: {strategy: Staged, checks: [{name: dns, service: a/b, port: 53}]}}`,
		`spec: {rollout: {strategy: Staged, checks: [{name: dns, port: 53}]}}`,
		"spec.rollout.checks[0].service: Required value",
	},
	"names of checks": {
		`spec: {rollout: {strategy: Staged, checks: [{name: a, service: a/b, port: 53}, {name: b, service: a/b, port: 53}]}}`,
		`spec: {rollout: {strategy: Staged, checks: [{name: a, service: a/b, port: 53}, {name: a, service: a/c, port: 53}]}}`,
		"Duplicate value",
	},
}
