// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestInterrupted has a change wait while the rules of a family are read. The Sync costs
// what has changed, repairs what it has read, and leaves the rest for the next one. Where it
// has to, it reads everything.
func TestInterrupted(t *testing.T) {
	const chain = 4 // operations to write the one that is damaged
	before := mixed()
	after := before.Clone()
	put(&after, "more", "10.96.0.99:80/tcp", rejected)
	damage := func(m *memory, v6 bool) {
		m.chains[v6][chainID{tableNAT, chainServices}] = []string{"-j RETURN"}
	}
	added := dataplane.Result{} // what it costs to add the Service
	{
		d := inMemory(t, newMemory())
		mustSync(t, d, before)
		added.Operations = mustApply(t, d, model.Diff(before, after)).Operations
	}
	for name, tc := range map[string]struct {
		unknown bool // what is programmed
		v6      bool // it is interrupted there, and else at once
		damaged []bool
		to      model.Desired
		want    dataplane.Result
		left    int // repairs by the next Sync
	}{
		"nothing else":                      {to: before, want: dataplane.Result{Interrupted: true}},
		"a Service is added":                {to: after, want: dataplane.Result{Operations: added.Operations, Interrupted: true}},
		"IPv4 is damaged":                   {damaged: []bool{false}, to: before, want: dataplane.Result{Interrupted: true}, left: 1},
		"both are":                          {damaged: []bool{false, true}, to: before, want: dataplane.Result{Interrupted: true}, left: 2},
		"IPv4 is damaged and read":          {v6: true, damaged: []bool{false}, to: before, want: dataplane.Result{Operations: chain, Repaired: 1, Interrupted: true}},
		"both are, IPv4 is read":            {v6: true, damaged: []bool{false, true}, to: before, want: dataplane.Result{Operations: chain, Repaired: 1, Interrupted: true}, left: 1},
		"it is not known what is there":     {unknown: true, damaged: []bool{false, true}, to: before, want: dataplane.Result{Operations: 2 * chain, Repaired: 2}},
		"it is not known, a change is made": {unknown: true, to: after, want: added},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			d := inMemory(t, m)
			mustSync(t, d, before)
			for _, v6 := range tc.damaged {
				damage(m, v6)
			}
			d.known = d.known && !tc.unknown
			reading, cancel := context.WithCancel(t.Context())
			m.failSave = func(v6 bool) error {
				if v6 == tc.v6 {
					cancel()
				}
				return nil
			}
			got, err := d.Sync(dataplane.WithReading(t.Context(), reading), tc.to, nil)
			got.Reading, got.Unsupported, got.NextLook = 0, nil, 0
			if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if got := mustSync(t, d, tc.to); got.Operations != tc.left*chain || got.Repaired != tc.left || got.Interrupted {
				t.Errorf("the next Sync: %+v, want %d repairs", got, tc.left)
			}
			if got := mustSync(t, inMemory(t, m), tc.to); got.Operations != 0 {
				t.Errorf("a new agent: %+v", got)
			}
		})
	}
}
