// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestInputsDigest(t *testing.T) {
	in := NewStore(time.Now)
	in.SetNode(testNodeRules(1))
	in.NodeSynced()
	a, b := agenttest.Web("10.96.0.1", "10.244.1.2"), agenttest.Web("10.96.0.1", "10.244.1.3")
	in.ReplaceSlices(agenttest.Listed(a), true)
	in.SetSlice(agenttest.WebName, b, time.Time{})
	in.SetSlice("x.gone-v4-0", a, time.Time{})
	in.SetSlice("x.gone-v4-0", nil, time.Time{})
	ch, ok := in.Take()
	if !ok || model.XORDigest(b.Digest) != model.XORDigest(model.FormatDigest(ch.Digest)) {
		t.Errorf("digest %x, want %s", ch.Digest, b.Digest)
	}
	if _, stored := ch.Slices["x.gone-v4-0"]; !stored {
		t.Error("a slice that came and went must be noted as deleted")
	}
}

// TestContentIsCompared gives the store an object of the same generation and digest, whose
// content is not the same.
func TestContentIsCompared(t *testing.T) {
	web := agenttest.Web("10.96.0.1", "10.1.0.1")
	incomplete := *web // as read by an agent that does not know a field
	incomplete.InternalTrafficPolicy, web.InternalTrafficPolicy = "", v1alpha1.TrafficPolicyLocal
	incomplete.Digest = web.Digest
	node := testNodeRules(1)
	old := testNodeRules(1)
	old.Spec.Masquerade.All, node.Spec.Masquerade.All = nil, new(bool)
	otherObject := testNodeRules(1)
	otherObject.UID = "another"
	same := *agenttest.Web("10.96.0.1", "10.1.0.1")
	same.Endpoints[0].ForZones, same.ExternalIPs = []string{}, []string{} // as a decoder may leave them
	for name, tc := range map[string]struct {
		before, after             *v1alpha1.ServiceRuleSliceSpec
		nodeBefore, nodeAfter     *NodeRules
		slicesChange, nodeChanges bool
	}{
		"the same":                                 {web, web, node, node, false, false},
		"the same, decoded":                        {agenttest.Web("10.96.0.1", "10.1.0.1"), &same, node, node, false, false},
		"a field of a slice that was not known":    {&incomplete, web, node, node, true, false},
		"a field of the node that was not known":   {web, web, old, node, false, true},
		"another object with the same content":     {web, web, testNodeRules(1), otherObject, false, true},
		"another generation with the same content": {web, web, testNodeRules(1), testNodeRules(2), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			in := NewStore(time.Now)
			in.Restore(tc.nodeBefore, agenttest.Listed(tc.before))
			in.Take()
			in.SetNode(tc.nodeAfter)
			in.ReplaceSlices(agenttest.Listed(tc.after), true)
			ch, ok := in.Take()
			if !ok || (len(ch.Slices) > 0) != tc.slicesChange || (ch.Node != nil) != tc.nodeChanges {
				t.Errorf("changed slices: %v, node: %v", ch.Slices, ch.Node)
			}
			if want := model.FormatDigest(model.DigestNumber(tc.after.Digest)); model.FormatDigest(ch.Digest) != want {
				t.Errorf("digest %x, want %s", ch.Digest, want)
			}
		})
	}
}
