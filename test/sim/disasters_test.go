// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestDisasters runs each event of several faults in a cluster in which nothing has changed for
// long, so that the oracle knows what must not be lost.
func TestDisasters(t *testing.T) {
	const s = time.Second
	for name, disasters := range map[string][]event{
		"an agent ends after it has programmed, and the next one does not reach the apiserver": {{do: crashAlone, a: 1, b: 2}},
		"a node boots, and its agent does not reach the apiserver":                             {{do: rebootNode, a: 1, b: 3, d: 2 * s}},
		"an agent without a journal starts": {
			{do: startBlind, b: 0, d: 10 * s}, // no slice
			{do: startBlind, b: 1, d: 10 * s}, // only that of the apiserver's Service
			{do: startBlind, b: 2, d: 10 * s}, // all but that
			{do: startBlind, b: 8, d: 10 * s}, // one was edited
		},
		"a kernel fails": {{do: breakKernel, a: 1}},
		"a controller has a bug": {
			{do: goRogue, b: 0}, // slices are empty
			{do: goRogue, b: 1}, // slices are deleted
		},
	} {
		for i, e := range disasters {
			t.Run(fmt.Sprint(name, i), func(t *testing.T) {
				t.Parallel()
				events := []event{{do: addService, b: 3}, {do: addService, a: 1, b: 6}, {do: growService}, {do: calm}, e, {do: advance, d: 12 * s}, {do: calm}}
				if r := runEvents(t, events); r.err != nil {
					t.Errorf("step %d: %v", r.steps, r.err)
				}
			})
		}
	}
}

// TestBackupInTheMiddleOfAChange restores a backup that has an endpoint, and the slices of the
// moment before it. Agents follow these, for they are the controller's; it writes them anew at
// once. No Service that was at rest at the time of the backup is concerned.
func TestBackupInTheMiddleOfAChange(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := newSimulation(dir, logger())
		if err != nil {
			t.Fatal(err)
		}
		defer s.stop()
		s.do(event{do: addService, b: 4}) // it has no endpoints
		s.do(event{do: addService, b: 6})
		s.calm()
		changed := s.world.sorted()[0]
		s.do(event{do: addPod})
		s.saved = &saved{api: s.server.Backup(), world: s.world.clone(), policy: s.policy}
		s.pass(2 * settled)
		for _, n := range s.nodes {
			s.oracle.excuse(n.name, func(service string) bool { return service == changed.name })
		}
		s.do(event{do: restore})
		if older := slices.ContainsFunc(calmed{s}.slices(), func(r v1alpha1.ServiceRuleSlice) bool {
			return r.Spec.ServiceName == changed.name && len(r.Spec.Endpoints) == 0
		}); !older {
			t.Fatal("the backup has the newer slice")
		}
		s.pass(delay)
		for _, n := range s.nodes {
			calmed{s}.checkKernel(n)
		}
		if err := s.failure(); err != nil {
			t.Error(err)
		}
	})
}
