// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestInputsDigest(t *testing.T) {
	in := NewStore(time.Now)
	in.SetNode(testNodeRules(1))
	in.NodeSynced()
	a, b := agenttest.Web("10.96.0.1", "10.244.1.2"), agenttest.Web("10.96.0.1", "10.244.1.3")
	in.ReplaceSlices(agenttest.Listed(a), true)
	in.SetSlice(agenttest.WebName, b, time.Time{})
	in.SetSlice(types.NamespacedName{Namespace: "x", Name: "gone"}, a, time.Time{})
	in.SetSlice(types.NamespacedName{Namespace: "x", Name: "gone"}, nil, time.Time{})
	ch, ok := in.Take()
	if !ok || model.XORDigest(b.Digest) != model.XORDigest(model.FormatDigest(ch.Digest)) {
		t.Errorf("digest %x, want %s", ch.Digest, b.Digest)
	}
	if _, stored := ch.Slices[types.NamespacedName{Namespace: "x", Name: "gone"}]; !stored {
		t.Error("a slice that came and went must be noted as deleted")
	}
}
