// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// waiting returns the context of a Sync that is to be interrupted at once.
func waiting(t *testing.T) context.Context {
	reading, cancel := context.WithCancel(t.Context())
	cancel()
	return dataplane.WithReading(t.Context(), reading)
}

// TestInterrupted checks what a Plan does when a change waits: it costs what has changed,
// and what others have changed is found by the next one. It reads everything where it has to.
func TestInterrupted(t *testing.T) {
	const service, deleted = "10.96.0.1:80/tcp", "delete element ip fairlead services { tcp . 10.96.0.7 . 80 }"
	before, after := several(100, 3), several(100, 3)
	put(&after, service, clusterIP("10.1.1.1:80", "10.129.0.1:8080", "10.130.0.1:8080"))
	forgotten := func(t *testing.T, d testTables) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := d.Apply(ended, model.Diff(before, after)); !errors.Is(err, context.Canceled) {
			t.Fatalf("a change that is cut off: %v", err)
		}
	}
	for name, tc := range map[string]struct {
		known  bool
		others string // what they do before
		then   func(t *testing.T, d testTables)
		to     model.Desired
		want   dataplane.Result
		left   int // repairs by the next Sync
	}{
		"nothing has happened":                    {known: true, to: before},
		"nothing has happened, and an endpoint":   {known: true, to: after, want: dataplane.Result{Operations: 2}},
		"others have changed something":           {known: true, others: "add table ip other", to: before, want: dataplane.Result{Interrupted: true}},
		"and an endpoint":                         {known: true, others: "add table ip other", to: after, want: dataplane.Result{Operations: 2, Interrupted: true}},
		"others have changed a table of ours":     {known: true, others: deleted, to: before, want: dataplane.Result{Interrupted: true}, left: 1},
		"and another endpoint":                    {known: true, others: deleted, to: after, want: dataplane.Result{Operations: 2, Interrupted: true}, left: 1},
		"a new agent":                             {others: deleted, to: before, want: dataplane.Result{Operations: 1}},
		"after an error":                          {known: true, others: deleted, then: forgotten, to: before, want: dataplane.Result{Operations: 1, Repaired: 1}},
		"the node's addresses could not be asked": {known: true, others: deleted, then: func(_ *testing.T, d testTables) { d.Forget() }, to: before, want: dataplane.Result{Operations: 1, Repaired: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t)
			d := s.dataplane()
			mustSync(t, d, before)
			if tc.others != "" {
				s.Run("nft", tc.others)
			}
			if !tc.known {
				d = s.dataplane()
			}
			if tc.then != nil {
				tc.then(t, d)
			}
			got, err := d.Sync(waiting(t), tc.to)
			got.Reading = 0
			if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if got := mustSync(t, d, tc.to); got.Repaired != tc.left || got.Operations != tc.left || got.Interrupted {
				t.Errorf("the next Sync: %+v, want %d repairs", got, tc.left)
			}
			if got := mustSync(t, s.dataplane(), tc.to); got.Operations != 0 {
				t.Errorf("a new agent: %+v", got)
			}
		})
	}
}
