// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import "testing"

func TestStable(t *testing.T) {
	has := func(revision string, change ...func(*Node)) Node {
		n := Node{Ready: true, Reported: true, Applied: revision}
		for _, f := range change {
			f(&n)
		}
		return n
	}
	degraded := func(n *Node) { n.Degraded = true }
	away := func(n *Node) { n.Ready = false }
	silent := func(n *Node) { n.Silent = true }
	unknown := Node{Ready: true}
	for name, c := range map[string]struct {
		before string
		nodes  []Node
		want   string
	}{
		"no node":                    {"a", nil, "a"},
		"no node, and none before":   {"", nil, ""},
		"the first":                  {"", []Node{has("a")}, "a"},
		"all":                        {"a", []Node{has("b"), has("b")}, "b"},
		"some":                       {"a", []Node{has("b"), has("a"), has("b")}, "a"},
		"all but the first":          {"a", []Node{has("a"), has("b"), has("b")}, "a"},
		"none yet":                   {"a", []Node{has("a"), has("a")}, "a"},
		"back to the one before":     {"b", []Node{has("a"), has("a")}, "a"},
		"one is degraded":            {"a", []Node{has("b"), has("b", degraded)}, "a"},
		"an agent is silent":         {"a", []Node{has("b"), has("b", silent)}, "a"},
		"silent before its report":   {"a", []Node{has("b"), {Ready: true, Silent: true}}, "a"},
		"a node is away":             {"a", []Node{has("b"), has("a", away)}, "b"},
		"away and degraded":          {"a", []Node{has("b"), has("a", away, degraded)}, "b"},
		"all are away":               {"a", []Node{has("b", away)}, "a"},
		"a new node":                 {"a", []Node{has("b"), unknown}, "b"},
		"only new nodes":             {"a", []Node{unknown}, "a"},
		"an older agent":             {"a", []Node{has("b"), has("")}, "a"},
		"an older agent, and first":  {"a", []Node{has(""), has("b")}, "a"},
		"its first one fails":        {"a", []Node{has("b"), has("", degraded)}, "a"},
		"all older agents":           {"", []Node{has(""), has("")}, ""},
		"the last one is degraded":   {"", []Node{has("a", degraded), has("a")}, ""},
		"away comes first, then all": {"a", []Node{has("", away), has("b"), has("b")}, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Stable(c.before, c.nodes); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
