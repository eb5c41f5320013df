// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// limit changes the policy of the node.
func (l lab) limit(o v1alpha1.MassRemovalOptions) {
	node := testNodeRules(2)
	node.Spec.MassRemoval = o
	l.store.SetNode(node)
}

var limitCases = map[string]holdCase{
	"the controller deletes half, a third may go": {list(holdA, holdB), func(l lab) {
		l.limit(v1alpha1.MassRemovalOptions{MaxPercent: 33})
		l.finish(holdA)
	}, "a-v4-0 60, b-v4-0 60", Held{Slices: 1, Endpoints: 60}},
	"the controller deletes all, all may go": {list(holdA, holdB), func(l lab) {
		l.limit(v1alpha1.MassRemovalOptions{MaxPercent: 100})
		l.finish(holdA, holdB)
	}, "", Held{}},
	"another deletes all, all may go": {list(holdA, holdB), func(l lab) {
		l.limit(v1alpha1.MassRemovalOptions{MaxPercent: 100})
		l.lose(holdA, holdB)
	}, "a-v4-0 60, b-v4-0 60", Held{Slices: 2, Endpoints: 120}},
	"few endpoints count":    {list(holdC), func(l lab) { l.limit(v1alpha1.MassRemovalOptions{MinEndpoints: 2}); l.finish(holdC) }, "c-v4-0 2", Held{Slices: 1, Endpoints: 2}},
	"many endpoints are few": {list(holdA, holdB), func(l lab) { l.limit(v1alpha1.MassRemovalOptions{MinEndpoints: 121}); l.finish(holdA, holdB) }, "", Held{}},
	"most of it more slowly than the limit": {list(holdA, holdB, holdC), func(l lab) {
		l.limit(v1alpha1.MassRemovalOptions{WindowSeconds: 60})
		l.finish(holdA)
		l.clock.Step(60 * time.Second)
		l.finish(holdB)
	}, "c-v4-0 2", Held{}},
	"most of it faster than the limit": {list(holdA, holdB, holdC), func(l lab) {
		l.limit(v1alpha1.MassRemovalOptions{WindowSeconds: 60})
		l.finish(holdA)
		l.clock.Step(59 * time.Second)
		l.finish(holdB)
	}, "b-v4-0 60, c-v4-0 2", Held{Slices: 1, Endpoints: 60}},
	"the limit is removed": {list(holdA, holdB, holdC), func(l lab) {
		l.set(whole("a", 1, 0), whole("b", 1, 0))
		l.finish(holdC)
		l.lose(whole("a", 1, 0))
		l.limit(v1alpha1.MassRemovalOptions{MaxPercent: 100})
	}, "a-v4-0 0, b-v4-0 0", Held{Slices: 1}},
	"the limit is raised": {list(holdA, holdB, holdC), func(l lab) {
		l.finish(holdA, holdB, holdC)
		l.limit(v1alpha1.MassRemovalOptions{MaxPercent: 51})
	}, "b-v4-0 60", Held{Slices: 1, Endpoints: 60}},
	"the limit is raised, and another has deleted": {list(holdA, holdB, holdC), func(l lab) {
		l.lose(holdA, holdB)
		l.limit(v1alpha1.MassRemovalOptions{MaxPercent: 100})
	}, "a-v4-0 60, b-v4-0 60, c-v4-0 2", Held{Slices: 2, Endpoints: 120}},
	"the limit is raised, and what was marked is not listed": {list(holdA, holdB, holdC), func(l lab) {
		l.finish(holdA, holdB)
		l.list(holdC)
		l.limit(v1alpha1.MassRemovalOptions{MaxPercent: 100})
	}, "c-v4-0 2", Held{}},
	"endpoints that another part has, a third may go": {list(part("a", 0, 2, 1, 100), part("a", 1, 2, 1, 100)), func(l lab) {
		l.limit(v1alpha1.MassRemovalOptions{MaxPercent: 33})
		l.finish(part("a", 1, 2, 1, 100))
	}, "a-v4-0 100", Held{}},
	"most of them another part has, a third may go": {list(part("a", 0, 2, 1, 80), part("a", 1, 2, 1, 100)), func(l lab) {
		l.limit(v1alpha1.MassRemovalOptions{MaxPercent: 33})
		l.set(part("a", 1, 2, 100, 100))
	}, "a-v4-0 80, a-v4-1 1", Held{}},
	"the limit is lowered, and what was allowed is gone": {list(holdA, holdB), func(l lab) {
		l.finish(holdA)
		l.limit(v1alpha1.MassRemovalOptions{MaxPercent: 1})
	}, "b-v4-0 60", Held{}},
	"a limit from the checkpoint": {nil, func(l lab) {
		node := testNodeRules(2)
		node.Spec.MassRemoval.MaxPercent = 33
		l.store.Restore(node, agenttest.Listed(holdA, holdB))
		l.finish(holdA)
	}, "a-v4-0 60, b-v4-0 60", Held{Slices: 1, Endpoints: 60}},
	"no limit from the checkpoint": {nil, func(l lab) {
		node := testNodeRules(2)
		node.Spec.MassRemoval.MaxPercent = 100
		l.store.Restore(node, agenttest.Listed(holdA, holdB))
		l.finish(holdA, holdB)
	}, "", Held{}},
}

// TestLimit has policies with other limits of the brake than the default.
func TestLimit(t *testing.T) { runHoldCases(t, limitCases) }
