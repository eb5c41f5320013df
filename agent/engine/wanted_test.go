// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestWanted checks what a loop answers: what it has programmed, and whether it has more to program.
func TestWanted(t *testing.T) {
	h := newHarness(t)
	if w := h.Asks.answer(h.Loop); w.Mode != "" {
		t.Errorf("before the first step the mode is %s", w.Mode)
	}
	h.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	h.step(t.Context())
	first := h.Asks.answer(h.Loop)
	if first.Mode != v1alpha1.ModeNFTables || first.Unsettled != "" || first.Generation != 1 || first.Digest != model.FormatDigest(h.last.Programmed.Digest) {
		t.Errorf("programmed: %+v", first)
	}
	if diff := cmp.Diff(describe(h.kernel.Kernel()), describe(first.Desired)); diff != "" {
		t.Errorf("desired (-kernel +answer):\n%s", diff)
	}
	h.step(t.Context())
	if w := h.Asks.answer(h.Loop); w.Changes != first.Changes {
		t.Error("a step without a change counts as one")
	}
	other := agenttest.Web("10.96.0.2", "10.244.1.3")
	other.ServiceName = "other"
	other.Digest = model.Digest(*other)
	h.kernel.Unsupported = []dataplane.Limitation{{Reason: dataplane.ReasonIPv6}, {Reason: dataplane.ReasonLocalhost}}
	h.kernel.Fail(fake.Apply, errors.New("the kernel says no"))
	h.store.SetSlice("web-2", other, time.Time{})
	h.step(t.Context())
	if w := h.Asks.answer(h.Loop); w.Changes == first.Changes || w.Unsettled != "the kernel says no" {
		t.Errorf("after a failure: %d changes, unsettled %q", w.Changes, w.Unsettled)
	}
	h.step(t.Context())
	if w := h.Asks.answer(h.Loop); w.Unsettled != "" || !w.NoIPv6 || w.Desired.Node.NodePortLocalhost {
		t.Errorf("with limitations: %+v", w)
	}
}

// TestAskWanted checks that a running loop answers, and that a question ends with its context where
// none runs.
func TestAskWanted(t *testing.T) {
	h := newHarness(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Asks.Wanted(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); h.Run(ctx) }()
	defer func() { stop(); <-done }()
	if _, err := h.Asks.Wanted(t.Context()); !errors.Is(err, ErrNoMode) {
		t.Errorf("error %v, want %v", err, ErrNoMode)
	}
	h.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	for {
		w, err := h.Asks.Wanted(t.Context())
		if err == nil && len(w.Desired.Frontends) == 1 {
			return
		}
		if err != nil && !errors.Is(err, ErrNoMode) {
			t.Fatal(err)
		}
	}
}
