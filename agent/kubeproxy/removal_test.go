// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestFinderRemoves checks after which looks rules are removed.
func TestFinderRemoves(t *testing.T) {
	rules := func() finding {
		return finding{status: &v1alpha1.KubeProxyStatus{Mode: v1alpha1.KubeProxyIPTables, Leftovers: []string{"some"}}}
	}
	runs, unsure, other := rules(), rules(), rules()
	runs.status.Running, unsure.unsure, other.status.Leftovers = true, true, []string{"other"}
	none := finding{}
	busy := errors.New("busy")
	for name, c := range map[string]struct {
		looks   []finding
		want    func(f *Finder, look int) // between a look and the next
		fails   map[int]error             // the removal after a look
		removed []int                     // after which looks
		changes int
		failure string // at the end
	}{
		"not wanted":         {looks: []finding{rules(), rules(), rules()}, want: func(*Finder, int) {}, changes: 1},
		"wanted":             {looks: []finding{rules(), rules(), none, none}, removed: []int{1}, changes: 2},
		"it runs":            {looks: []finding{runs, runs, runs}, changes: 1},
		"it runs, and ends":  {looks: []finding{runs, rules(), rules()}, removed: []int{2}, changes: 3},
		"it ends and starts": {looks: []finding{runs, rules(), runs, rules()}, changes: 4},
		"other rules":        {looks: []finding{rules(), other, other}, removed: []int{2}, changes: 3},
		"the agent has the port, which is left then": {looks: []finding{unsure, unsure, rules(), rules()}, removed: []int{3}, changes: 3},
		"of something that was found before": {looks: []finding{rules(), other, other}, changes: 2,
			want: func(f *Finder, look int) {
				if look == 0 {
					f.Want(f.Found())
				}
			}},
		"not wanted any more": {looks: []finding{rules(), rules()}, changes: 1,
			want: func(f *Finder, _ int) { f.Want(f.Found()); f.Want(nil) }},
		"a failure": {looks: []finding{rules(), rules(), rules()}, fails: map[int]error{1: busy}, removed: []int{1, 2}, changes: 3},
		"failures": {looks: []finding{rules(), rules(), rules()}, fails: map[int]error{1: busy, 2: busy}, removed: []int{1, 2}, changes: 2,
			failure: "Failed to remove the rules of kube-proxy: busy"},
		"a failure, and it is not wanted any more": {looks: []finding{rules(), rules(), rules()}, fails: map[int]error{1: busy}, removed: []int{1}, changes: 3,
			want: func(f *Finder, look int) {
				f.Want(f.Found())
				if look > 0 {
					f.Want(nil)
				}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				looks, changes := 0, 0
				var removed []int
				var f *Finder
				want := c.want
				if want == nil {
					want = func(f *Finder, _ int) { f.Want(f.Found()) }
				}
				f = New(func() { changes++ }, testr.New(t), clock.RealClock{})
				f.look = func(context.Context) (finding, error) {
					if looks > 0 {
						want(f, looks-1)
					}
					if looks == len(c.looks) {
						cancel()
						return none, nil
					}
					looks++
					return c.looks[looks-1], nil
				}
				f.remove = func(context.Context) error {
					removed = append(removed, looks-1)
					return c.fails[looks-1]
				}
				began := time.Now()
				f.Run(ctx)
				if diff := cmp.Diff(c.removed, removed); diff != "" {
					t.Errorf("removed after the looks (-want +got):\n%s", diff)
				}
				if changes != c.changes {
					t.Errorf("%d changes, want %d", changes, c.changes)
				}
				if want := time.Duration(len(c.looks)) * interval; time.Since(began) != want {
					t.Errorf("took %s, want %s: a removal makes no more looks", time.Since(began), want)
				}
				shown := ""
				if found := f.Found(); found != nil {
					shown = found.Message
				}
				if shown != c.failure || (f.Failure() != nil) != (c.failure != "") {
					t.Errorf("shows %q, failure %v, want %q", shown, f.Failure(), c.failure)
				}
			})
		})
	}
}
