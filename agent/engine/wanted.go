// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Wanted is what the kernel is to have.
type Wanted struct {
	Mode v1alpha1.ProxyMode
	// Rules are those of the node whose policy is programmed, which may be an earlier one.
	Rules v1alpha1.NodeRuleSetSpec
	// Generation and Digest are of what was programmed last.
	Generation int64
	Digest     string
	// Changes counts the changes of all this.
	Changes uint64
	// Unsettled is why the agent has more to program; empty: the kernel has it all, unless another
	// program has changed it.
	Unsettled string
	// NoIPv6 says that the node can program only IPv4.
	NoIPv6  bool
	Desired model.Desired
}

// ErrNoMode is returned while no mode is active.
var ErrNoMode = errors.New("the agent has programmed no mode: no policy selects the node, none of its modes can run, or the node is given back or cleaned up")

// Asks has another goroutine ask a loop what the kernel is to have.
type Asks struct {
	pending chan chan<- Wanted
	changes uint64 // of the loop
}

// Wanted asks. The loop answers between two steps.
func (a *Asks) Wanted(ctx context.Context) (Wanted, error) {
	answer := make(chan Wanted, 1)
	select {
	case a.pending <- answer:
	case <-ctx.Done():
		return Wanted{}, fmt.Errorf("the agent is busy: %w", ctx.Err())
	}
	w := <-answer
	if w.Mode == "" {
		return w, ErrNoMode
	}
	return w, nil
}

// answer is what the loop answers.
func (a *Asks) answer(l *Loop) Wanted {
	if l.dp == nil {
		return Wanted{}
	}
	w := Wanted{Mode: l.dp.Mode(), Rules: l.node.Spec, Changes: a.changes, Desired: l.table.Desired()}
	if p := l.programmed; p != nil {
		w.Digest = model.FormatDigest(p.Digest)
		if p.Node != nil {
			w.Generation = p.Node.Generation
		}
	}
	switch err := l.problems[report.KernelError]; {
	case l.candidate != nil:
		w.Unsettled = fmt.Sprintf("the mode changes to %s", l.candidate.Mode())
	case err != nil:
		w.Unsettled = err.Error()
	case l.needSync || l.programmed == nil:
		w.Unsettled = "the rules are about to be programmed"
	}
	has := func(r dataplane.Reason) bool {
		return slices.ContainsFunc(l.limitations, func(l dataplane.Limitation) bool { return l.Reason == r })
	}
	w.NoIPv6 = has(dataplane.ReasonIPv6)
	if has(dataplane.ReasonLocalhost) {
		w.Desired.Node.NodePortLocalhost = false
	}
	return w
}
