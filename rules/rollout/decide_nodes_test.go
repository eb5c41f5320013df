// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestNamedNodes checks which nodes a decision names: as failed, as lagging on the way back, and as
// skipped because they are not ready.
func TestNamedNodes(t *testing.T) {
	for name, c := range map[string]struct {
		change      do
		nodes, want string // failed/lagging/skipped
	}{
		"none":                           {nil, "a2+ b1+ c-", "[]/[]/[]"},
		"failed":                         {do{tolerant}, "b2! a2x c1+", "[a b]/[]/[]"},
		"failed, and not ready":          {nil, "a2!z b1+", "[a]/[]/[]"},
		"not ready":                      {nil, "b1+z a2+z c1+", "[]/[]/[a b]"},
		"not ready, and not a part":      {nil, "a2+ b-z", "[]/[]/[]"},
		"on the way back":                {do{failed}, "a1? b2+", "[]/[]/[]"},
		"on the way back, not in time":   {do{failed}, "a1! b1~ c1+ d2+", "[]/[a b]/[]"},
		"on the way back, and not ready": {do{failed}, "a1!z b2+", "[]/[]/[a]"},
		"the failed ones return":         {do{failed}, "a2x b2+", "[a]/[]/[]"},
	} {
		t.Run(name, func(t *testing.T) {
			d := Decide(with(t, one(c.change...), c.nodes))
			if diff := cmp.Diff(c.want, fmt.Sprintf("%v/%v/%v", d.Failed, d.Lagging, d.Skipped)); diff != "" {
				t.Errorf("failed, lagging, skipped (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCounts checks the numbers of the stages.
func TestCounts(t *testing.T) {
	for name, c := range map[string]struct {
		change      do
		nodes, want string // of each stage: total updated verified failed
	}{
		"nothing is done":             {do{two}, "a1+ b1+ c1+", "canary 2 0 0 0, 3 0 0 0"},
		"some have it":                {do{two}, "a2+ b2? c1+", "canary 2 2 1 0, 3 2 1 0"},
		"some have failed":            {do{two, tolerant}, "a2x b2! c2+ d1+", "canary 2 3 1 2, 4 3 1 2"},
		"fewer than the stage has":    {do{two}, "a1+", "canary 1 0 0 0, 1 0 0 0"},
		"not ready":                   {do{two}, "a1+z b2+z c1+", "canary 2 1 1 0, 2 1 1 0"},
		"failed, and not ready":       {do{two, tolerant}, "a2!z b1+ c1+", "canary 2 1 0 1, 3 1 0 1"},
		"not one of the stage":        {do{two, only("a c x")}, "a2+ b2+ c1+", "canary 2 1 1 0, 3 2 2 0"},
		"what has it for another try": {do{two, retried}, "a2! b2+ c1+", "canary 2 1 1 0, 3 1 1 0"},
		"not a part of it":            {do{two}, "a1+ b-", "canary 1 0 0 0, 1 0 0 0"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, s := range Decide(with(t, one(c.change...), c.nodes)).Stages {
				got = append(got, strings.TrimSpace(fmt.Sprintf("%s %d %d %d %d", s.Name, s.Total, s.Updated, s.Verified, s.Failed)))
			}
			if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestStuck checks what counts as progress: the deadline is ten minutes and the grace.
func TestStuck(t *testing.T) {
	r := one()
	deadline := r.Strategy.ProgressDeadline + grace
	at, recent := r.Now.Add(-time.Hour), r.Now.Add(-deadline+time.Second)
	verified := func(change func(*Member)) Member {
		m := Member{Name: "a", Ready: true, Assigned: newer, AssignedAt: at, VerifiedAt: at}
		change(&m)
		return m
	}
	for name, c := range map[string]struct {
		since, active time.Time
		member        Member
		want          bool
	}{
		"for long":                      {at, at, verified(func(*Member) {}), true},
		"it has begun":                  {recent, at, verified(func(*Member) {}), false},
		"it goes on":                    {at, recent, verified(func(*Member) {}), false},
		"to the second":                 {at, r.Now.Add(-deadline), verified(func(*Member) {}), true},
		"a node was given it":           {at, at, verified(func(m *Member) { m.AssignedAt, m.VerifiedAt = recent, time.Time{} }), false},
		"a node has verified it":        {at, at, verified(func(m *Member) { m.VerifiedAt = recent }), false},
		"a node has a problem":          {at, at, verified(func(m *Member) { m.TroubledSince = recent }), false},
		"a node is not ready":           {at, at, verified(func(m *Member) { m.Ready, m.AwaySince = false, recent }), false},
		"a node without it":             {at, at, verified(func(m *Member) { m.Assigned, m.TroubledSince = older, recent }), true},
		"a node of the try before this": {at.Add(time.Second), at, verified(func(m *Member) { m.VerifiedAt, m.TroubledSince = time.Time{}, recent }), true},
	} {
		t.Run(name, func(t *testing.T) {
			r.Since, r.ActiveSince, r.Members = c.since, c.active, []Member{c.member}
			if got := r.stuck(); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// with adds nodes to a rollout, as member reads them.
func with(t *testing.T, r Rollout, nodes string) Rollout {
	t.Helper()
	for text := range strings.FieldsSeq(nodes) {
		r.Members = append(r.Members, member(t, text, r.Now))
	}
	return r
}
